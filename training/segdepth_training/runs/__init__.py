"""A run from its workspace to a released version, by hand or on schedule."""
