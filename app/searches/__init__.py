"""Searches: submitted, followed, listed, cancelled."""
