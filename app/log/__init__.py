"""The event log at work.

appender: many batches, one commit, one notification (group commit). hub: who waits for what. feed: what one replica
keeps of one task for all its viewers. tail: one viewer's reading, page by page, then waiting.
"""
