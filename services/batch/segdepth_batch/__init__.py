"""Batch jobs of SegDepth: movies to tables and maps, on Ray Data, resumable chunk by chunk."""
