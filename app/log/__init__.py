"""The event log at work.

appender: stores batches of many workers in one commit. hub: wakes waiters. feed: keeps one task's newest events for
all viewers on this replica. tail: reads a log for one viewer, page by page, and then waits. encode: writes an event as
JSON. task_watch: finds the changes of tasks for a viewer of the whole system.
"""
