"""What verification trainings compare and conclude: controls of equal cost, and the evidence."""
