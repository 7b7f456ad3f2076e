"""What is measured on built networks (extra `train`; imports torch)."""
