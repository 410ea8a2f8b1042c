"""The whole of SegDepth on one machine: segdepth serve."""
