"""The Celery application of the bare tasks' worker."""

from bench.load.bare import make_celery

app = make_celery()
