"""Closed forms over arrays, for many architectures in one call."""
