"""Fronts of NN-Mass against costs, by labels."""
