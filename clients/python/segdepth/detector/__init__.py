"""What is known of a detector, and frames corrected by it: dark image, gain, bad pixels, modulation transfer."""

from segdepth.detector.bad_pixels import BadPixels
from segdepth.detector.correction import Detector

__all__ = ["Detector", "BadPixels"]
