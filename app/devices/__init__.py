"""Devices: what a budget can name instead of numbers."""
