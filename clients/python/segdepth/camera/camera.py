"""The simulated camera: frames of a scene at a rate, with the truth about each."""

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from segdepth.arguments import number, whole
from segdepth.calibration import Calibration, Frame
from segdepth.camera.noise import ShotNoise
from segdepth.camera.scene import Field, Scene, load_scene
from segdepth.camera.schedule import DriftPath, Hop, HopSchedule
from segdepth.errors import InvalidFrame
from segdepth.live.account import FrameAccount

TOO_LATE = "too late for the camera"
"""Why the account lacks frames that a slow reader did not fetch in time."""

DRIFT_STEPS = 8
"""Drift advances by this part of a pixel: an expected image serves all frames until then."""

SPREAD_PX = 0.3
"""Point spread of the simulated sensor, standard deviation."""

BORDER_A = 2.0
"""Columns nearer to the field's edge do not hop."""

MOST_LATE_S = 0.5
"""A camera keeps about this much of its frames for a slow reader, two at least; then it loses some."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame of the camera with what is true of it.

    drift_A: (x, y) by which the specimen is displaced against frame 0; hops: those since the shot before, which show
    from this frame on; hopped: which columns of the scene have hopped [hops].
    """

    frame: Frame
    time_s: float
    drift_A: tuple[float, float]
    hops: tuple[Hop, ...]
    hopped: NDArray[np.bool_]


class Camera:
    """A counting camera in front of a scene: every pixel is a number of electrons.

    scene: a name of `scene_names()` or a Scene; dose: of a frame [e/Å²]; fps: frames per second; size: pixels along a
    side; sampling_A [Å/px]; drift_A_per_s: speed; hop_every_s: mean interval of hops, 0 for none; seed: the same one
    gives the same frames, bit by bit; paced: whether frames come at their time, or as fast as they are fetched.

    A source of live frames: `frames()` gives them, `account` counts them, `close()`, from any thread, ends them.
    """

    def __init__(
        self,
        scene: str | Scene = "particle",
        *,
        dose: float = 200.0,
        fps: float = 20.0,
        size: int = 256,
        sampling_A: float = 0.1,
        drift_A_per_s: float = 0.1,
        hop_every_s: float = 2.0,
        seed: int = 0,
        paced: bool = True,
        spread_px: float = SPREAD_PX,
    ):
        self.scene = scene if isinstance(scene, Scene) else load_scene(scene)
        self.dose, self.fps = _above_0(dose, "dose"), _above_0(fps, "fps")
        self.drift_A_per_s = _from_0(drift_A_per_s, "drift_A_per_s")
        self.hop_every_s = _from_0(hop_every_s, "hop_every_s")
        self.seed, self.paced = whole(seed, "seed"), paced
        self.field = Field(self.scene, _size(size), _above_0(sampling_A, "sampling_A"), _from_0(spread_px, "spread_px"))
        self.calibration = Calibration(
            sampling_A, counts_per_electron=1.0, dose_per_A2=self.dose, beam_energy_kev=self.scene.beam_energy_kev
        )
        largest_A = self.scene.largest_drift_A(self.field.size, self.field.sampling_A)
        self.drift = DriftPath(self.drift_A_per_s, largest_A - sampling_A / DRIFT_STEPS, self.seed)
        self.account = FrameAccount()
        self._closed = threading.Event()

    def frames(self, limit: int | None = None) -> Iterator[Frame]:
        """Frames until `close()`, or those below number `limit`. Numbers begin at 0 and jump where frames are lost."""
        for shot in self.shots(limit):
            yield shot.frame

    def shots(self, limit: int | None = None) -> Iterator[Shot]:
        """The same with the truth. Each call begins anew, with the same frames."""
        scenery = _Scenery(self)
        began, wall = time.monotonic(), datetime.now(UTC)
        sequence = 0
        while not self._closed.is_set() and (limit is None or sequence < limit):
            if self.paced:
                lost = self._late(sequence, time.monotonic() - began)
                lost = lost if limit is None else min(lost, limit - sequence)
                if lost:
                    self.account.lose(lost, TOO_LATE)
                    self.account.leave_out(sequence, sequence + lost - 1)
                    sequence += lost
                    continue
                if self._closed.wait(max(0.0, began + sequence / self.fps - time.monotonic())):
                    return
            shot = scenery.shot(sequence, wall)
            self.account.see()
            self.account.send()
            yield shot
            sequence += 1

    def close(self) -> None:
        """No further frame; a waiting `frames()` ends at once."""
        self._closed.set()

    def in_sight(self, time_s: float) -> NDArray[np.bool_]:
        """Which of the scene's hopping columns are in the field then, and not at its edge [hops]."""
        xy_A = self.field.positions_A(self.drift.at(time_s))[self.scene.hopping]
        return self.field.inside(xy_A, BORDER_A)

    def _late(self, sequence: int, now_s: float) -> int:
        """How many frames from `sequence` on are lost."""
        kept = max(2, math.ceil(MOST_LATE_S * self.fps))
        due = math.floor(now_s * self.fps)
        return due - sequence if due - sequence > kept else 0


class _Scenery:
    """What the camera sees, frame after frame; the expected image is kept until something moves or hops."""

    def __init__(self, camera: Camera):
        self._camera, self._scene, self._field = camera, camera.scene, camera.field
        self._schedule = HopSchedule(len(self._scene.by), camera.hop_every_s, camera.seed, camera.in_sight)
        self._per_px = np.float32(camera.dose * camera.field.sampling_A**2)
        brightest = self._scene.base.max() + max(0.0, float(self._scene.patches.max(initial=0)))
        # Beyond the brightest sample of the scene: pixels lie between samples.
        self._most = float(self._per_px * brightest * 1.2)
        self._image = self._scene.base
        self._step: tuple[int, int] | None = None
        self._noise: ShotNoise | None = None

    def shot(self, sequence: int, wall: datetime) -> Shot:
        """One frame, later than those before."""
        time_s = sequence / self._camera.fps
        hops = self._schedule.until(time_s)
        step_A = self._field.sampling_A / DRIFT_STEPS
        x, y = self._camera.drift.at(time_s)
        step = round(x / step_A), round(y / step_A)
        drift_A = step[0] * step_A, step[1] * step_A
        if hops:
            self._image = self._scene.image(self._schedule.hopped)
        if self._noise is None or hops or step != self._step:
            expected = self._field.expected(self._image, drift_A)
            self._step, self._noise = step, ShotNoise(expected * self._per_px, self._most)
        # Numbers of its own for every frame: what it shows does not depend on frames that were lost before.
        numbers = np.random.SFC64([self._camera.seed, sequence])
        frame = Frame(self._noise.frame(numbers), sequence, capture_time=wall + timedelta(seconds=time_s))
        return Shot(frame, time_s, drift_A, tuple(hops), self._schedule.hopped.copy())


def _above_0(value: float, field: str) -> float:
    known = number(value, field)
    if not (known > 0 and math.isfinite(known)):
        raise InvalidFrame(f"{field}: {known:g} is not a number above 0", field)
    return known


def _from_0(value: float, field: str) -> float:
    known = number(value, field)
    if not (known >= 0 and math.isfinite(known)):
        raise InvalidFrame(f"{field}: {known:g} is not a number from 0 up", field)
    return known


def _size(value: int) -> int:
    size = whole(value, "size")
    if size < 16:
        raise InvalidFrame(f"size: {size} px is no field; from 16 up", "size")
    return size
