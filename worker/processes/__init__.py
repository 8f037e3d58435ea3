"""The processes and directories of one attempt: started under a keeper, and removed for certain."""
