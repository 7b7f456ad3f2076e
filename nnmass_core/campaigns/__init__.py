"""Campaigns: which networks to train next, so that few trainings find the best network within a budget."""
