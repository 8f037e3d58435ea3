"""The processes and directories of one attempt: processes run under a keeper, directories are removed after it."""
