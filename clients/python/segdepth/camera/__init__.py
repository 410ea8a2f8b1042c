"""A detector simulator: a camera that images simulated specimens, which drift and whose atoms hop at known moments.

from segdepth.camera import Camera

camera = Camera("particle", dose=500, fps=20)
for answer in client.stream(camera.frames(), camera.calibration):
    ...
"""

from segdepth.camera.camera import Camera, Shot
from segdepth.camera.scene import Scene, load_scene, scene_names
from segdepth.camera.schedule import Hop
from segdepth.camera.truth import CameraTruth, TrueChange, TruthFile, read_truth

__all__ = [
    "Camera",
    "Shot",
    "Hop",
    "Scene",
    "load_scene",
    "scene_names",
    "CameraTruth",
    "TrueChange",
    "TruthFile",
    "read_truth",
]
