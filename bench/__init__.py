"""Benchmarks: nnmass and its alternatives on the same problems, in one run (`make bench`)."""
