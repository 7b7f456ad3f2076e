"""Evidence: what the trainings say about NN-Mass, params and MACs."""
