"""The Celery application of the worker for the bare tasks."""

from bench.load.bare import make_celery

app = make_celery()
