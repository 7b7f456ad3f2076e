"""Campaigns: a few trainings of the networks of one search, in rounds, for the best that was measured."""
