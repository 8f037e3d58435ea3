"""The only code that speaks to Postgres.

Three ideas hold it together. A *statement* stands in ``sql/queries`` under a name and is one transition. A *fence*
is the attempt number in its ``where``: a late worker gets no row. A *hint* is a notification: it only wakes
somebody who then reads the tables.
"""
