"""Metrics for Prometheus: the requests of this process, and the jobs, queues and workers in the database."""
