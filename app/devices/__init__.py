"""Devices that a budget can name in place of limits."""
