"""NN-Mass, hardware costs and exact architecture search, computed from an architecture's integers only."""

__version__ = "0.1.0"
