"""What a request can name: presets of spaces, well-known networks, data sets and training recipes."""
