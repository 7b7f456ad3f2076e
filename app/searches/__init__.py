"""Searches: submit, follow, list, cancel."""
