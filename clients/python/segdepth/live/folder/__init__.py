"""A folder in which movies arrive and grow: found, read as they grow, and each frame answered once."""
