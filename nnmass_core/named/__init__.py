"""What a request can refer to by name: presets of spaces, well-known networks, data sets and training recipes."""
