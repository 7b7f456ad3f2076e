"""Scripts for development and documentation; they are not part of the package."""
