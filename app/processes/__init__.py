"""Processes: embedded mode, uvicorn, and the watch on a parent process."""
