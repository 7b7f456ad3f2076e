"""Training and measurement of built networks (extra `train`; imports torch)."""
