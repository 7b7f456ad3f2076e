"""The best paths by a sum that is to come close to its own limit."""
