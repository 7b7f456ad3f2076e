"""What every request and answer passes: the access log, host and origin checks, the guard of bodies."""
