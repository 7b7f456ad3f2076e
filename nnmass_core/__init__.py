"""NN-Mass, hardware costs and exact architecture search from an architecture's integers alone."""

__version__ = "0.1.0"
