"""Devices: their memory, and how long they take."""
