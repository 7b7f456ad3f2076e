"""The service: its web interface, its database, and how its processes are run."""
