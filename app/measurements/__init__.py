"""Measurements: figures of a built network, with no training."""
