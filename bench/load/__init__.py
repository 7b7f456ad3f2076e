"""How much one API process and one worker carry, beside the same work done bare."""
