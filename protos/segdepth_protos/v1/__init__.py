"""Generated from protos/segdepth/v1 by protos/generate.py."""
