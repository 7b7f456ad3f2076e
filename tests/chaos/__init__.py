"""Chaos: what the service promises, kept while its parts are killed, frozen, filled and overrun.

`python -m tests.chaos` starts the real processes on a private PostgreSQL and Redis, does harm to them, one row of the
table at a time, and compares what clients were told with what the database says afterwards.
"""
