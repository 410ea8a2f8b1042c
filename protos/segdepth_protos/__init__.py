"""The wire contract of SegDepth: generated messages in `v1`, and in `contract` the rules that messages cannot state."""
