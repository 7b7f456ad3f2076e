"""What every family's search space is made of: axes of choices, and the base of all spaces."""
