"""HTTP API of SegDepth, a client of the gateway."""
