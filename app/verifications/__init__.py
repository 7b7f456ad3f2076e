"""Verifications: networks trained, watched, and kept as evidence."""
