"""Exports: an architecture as a downloadable file."""
