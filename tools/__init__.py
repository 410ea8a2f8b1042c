"""What keeps the repository in order. Run from its root."""
