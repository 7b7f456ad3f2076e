"""The family of docs/adding-a-family.md, installed and tried."""
