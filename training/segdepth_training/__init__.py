"""Training of SegDepth models: specimens, exit waves, imaging, training, calibration, evaluation, release."""
