"""Chaos tests: the guarantees of the service hold while its parts are killed, frozen, filled and overloaded.

`python -m tests.chaos` starts the real processes on a private PostgreSQL and Redis, does harm to them, one row of the
table at a time, and compares the answers that clients got with the database afterwards.
"""
