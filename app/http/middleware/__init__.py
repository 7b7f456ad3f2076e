"""Middleware that handles every request: the access log, host and origin checks, and the check of bodies."""
