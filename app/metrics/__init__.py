"""Metrics for Prometheus: what this process answered, and what the database says of jobs, queues and workers."""
