"""Verifications: trainings of networks that are watched, and stored as evidence."""
