"""Measurements of built networks without training."""
