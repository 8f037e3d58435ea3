"""The repository of a job: set up for the agent, checkpointed, and returned as one commit."""
