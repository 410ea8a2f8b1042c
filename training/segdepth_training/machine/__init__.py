"""What a run stands on: storage, Ray, settings, progress."""
