"""The parts of every family's search space: axes of choices, and the base class of all spaces."""
