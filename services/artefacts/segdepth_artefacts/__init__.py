"""Model artefacts of SegDepth: immutable versions and channels, in a folder or any S3."""
