"""Measurements: nnmass beside what a user would pick instead, on the same problems, in one run (`make bench`)."""
