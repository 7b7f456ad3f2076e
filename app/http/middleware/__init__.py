"""What handles every request: access log, host and origin checks, checks of bodies and query parameters, and HEAD."""
