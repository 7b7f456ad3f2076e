"""Architectures: evaluated from their definitions."""
