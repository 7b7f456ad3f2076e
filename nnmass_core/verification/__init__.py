"""Comparisons and conclusions of verification trainings: controls of equal cost, and the evidence."""
