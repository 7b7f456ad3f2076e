"""Exports: an architecture as a file to take away."""
