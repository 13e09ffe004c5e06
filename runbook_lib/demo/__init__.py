"""Run the embedded default: a PostgreSQL server and the sample platform.

It needs no account and no server of one's own.
"""
