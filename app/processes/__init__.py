"""Processes: embedded mode, uvicorn, the watch on a parent process, and calls of the trainer."""
