"""The only code that speaks to Postgres.

It rests on three ideas. A *statement* has a name in ``sql/queries`` and is one transition. A *fence*
is the attempt number in its ``where``: a late worker gets no row. A *hint* is a notification: it only wakes
somebody who then reads the tables.
"""
