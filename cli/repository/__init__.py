"""The user's repository: what goes out with a task, and what comes back from it."""
