"""Evidence: what trainings show about NN-Mass, params and MACs."""
