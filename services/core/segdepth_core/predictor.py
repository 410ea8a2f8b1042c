"""The one way from pixels to atom counts: replica, batch job, evaluation and local mode all call this.

No Ray and no gRPC in it. Suffixes: B frames of a batch, H, W pixels of the caller, h, w of the canonical grid.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segdepth_artefacts.manifest import Manifest
from segdepth_core.calibration import temperature
from segdepth_core.columns import Reading, read, recorded, tables
from segdepth_core.conditions import checks as checks_of
from segdepth_core.domain import Gate
from segdepth_core.engine import TorchEngine, choose_device, choose_engine
from segdepth_core.exposure import Exposure
from segdepth_core.familiarity import FAMILIARITY, Familiarity, load_familiarity
from segdepth_core.maps import read_maps, refused_maps
from segdepth_core.network import Heads
from segdepth_core.prediction import (
    Array,
    Check,
    Columns,
    Detail,
    Detector,
    Maps,
    Prediction,
    Status,
    Timings,
    Verdict,
    Version,
    worst,
)
from segdepth_core.prepare import canonical_shape, prepare
from segdepth_core.second_reading import SecondReading, load_second_stage
from segdepth_core.spectrum import measured_noise
from segdepth_core.tiling import Tiling, through
from segdepth_core.weights import fold_norms, load_network, memory_format
from segdepth_protos.conditions import Conditions

BATCH_PX = {"cpu": 8 * 128 * 128, "cuda": 64 * 128 * 128}
"""Canonical pixels that go through the network at once: what is fastest without needing much memory."""

NO_MAPS = Detail()
UNKNOWN = Detector()


@dataclass
class _Work:
    """A frame on its way to an answer."""

    exposure: Exposure
    detector: Detector
    checks: list[Check]
    reading_ms: float
    dose: float = math.nan
    columns: Columns = field(default_factory=Columns.none)
    conditions: Conditions | None = None
    maps: Maps | None = None

    @property
    def refused(self) -> bool:
        return worst(self.checks) == Status.REFUSED


class Predictor:
    """A model, ready to answer. Make one by `load`."""

    def __init__(
        self,
        engine: TorchEngine,
        manifest: Manifest,
        familiarity: Familiarity | None = None,
        second: SecondReading | None = None,
    ):
        self.engine = engine
        self.second = second
        self.manifest = manifest
        self.device = engine.device
        self.gate = Gate(manifest.domain, manifest.canonical_sampling_A, familiarity)
        self.tiling = Tiling()
        self.version = Version(
            manifest.family, manifest.version, manifest.weights_sha256, engine.name, manifest.species
        )

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto", engine: str = "auto", evaluated: bool = True) -> "Predictor":
        """The model whose manifest and weights lie in `folder` (as ArtefactStore.fetch leaves them).

        `evaluated=False` runs an engine that no report has judged yet: for the evaluation itself.
        Raises EngineRefused for an engine that may not answer, ValueError for weights that do not fit the manifest.
        """
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
        where = choose_device(device)
        name = choose_engine(manifest, where, engine) if evaluated else engine
        network = memory_format(fold_norms(load_network(folder, manifest)))
        familiarity = None
        if FAMILIARITY in manifest.files:
            familiarity = load_familiarity(folder, sum(network.config.widths)).to(where)
        second = load_second_stage(folder, manifest, where)
        return cls(TorchEngine(network, where, name), manifest, familiarity, second)

    @property
    def best_batch(self) -> int:
        """Frames of 256² at 0.1 Å/px that are fastest together."""
        return self.batch_px // (128 * 128)

    @property
    def batch_px(self) -> int:
        """Pixels of the canonical grid that go through the network at once."""
        return BATCH_PX.get(self.device.type, BATCH_PX["cpu"])

    def warm_up(self, shapes: Sequence[tuple[int, int]] = ((256, 256),), sampling_A: float | None = None) -> None:
        """Answer frames of noise of these shapes, so that no caller waits for the first run's preparations."""
        sampling_A = sampling_A or self.manifest.canonical_sampling_A / 2
        rng = np.random.default_rng(0)
        for height, width in shapes:
            h, w = canonical_shape(height, width, sampling_A, self.manifest.canonical_sampling_A)
            for size in (1, max(1, self.batch_px // (h * w))):
                noise_BHW = torch.from_numpy(rng.poisson(10, (size, height, width)).astype(np.float32))
                heads, dose_B = self.heads(noise_BHW, sampling_A), measured_noise(noise_BHW, sampling_A).dose
                self.tables(self.reading(heads, dose_B.to(self.device)), heads, (height, width))

    def predict(
        self,
        frames: Sequence[Array],
        samplings_A: Sequence[float],
        detail: Detail = NO_MAPS,
        detectors: Sequence[Detector] = (),
    ) -> list[Prediction]:
        """The answer to each frame [height, width] (any real dtype) at its sampling [Å/px], in order.

        detectors: what is known of that of each frame; none = nothing of any.
        Frames of equal shape and sampling go through the network together; whichever they are, a frame's answer is
        the same. A frame outside the model's domain gets a refused verdict and no columns. Raises ValueError for
        arrays that are not frames.
        """
        if len(frames) != len(samplings_A):
            raise ValueError(f"{len(frames)} frames but {len(samplings_A)} samplings")
        detectors = detectors or [UNKNOWN] * len(frames)
        answers: dict[int, Prediction] = {}
        for batch in self._batches(frames, samplings_A):
            work = [self._work(frames[number], samplings_A[number], detectors[number]) for number in batch]
            some = self._predict(work, samplings_A[batch[0]], detail)
            answers.update(zip(batch, some, strict=True))
        return [answers[number] for number in range(len(frames))]

    @torch.inference_mode()
    def heads(self, frames_BHW: Tensor, sampling_A: float) -> Heads:
        """Uncalibrated logits of camera frames [B, H, W] (any unit of intensity, mean > 0) on the canonical grid."""
        x_Bhw = prepare(frames_BHW.to(self.device), sampling_A, self.manifest.canonical_sampling_A)
        return self._network(x_Bhw)

    def _network(self, x_Bhw: Tensor) -> Heads:
        return through(self.engine, x_Bhw, self.engine.network.config.stride, self.tiling, self.batch_px)

    def _batches(self, frames: Sequence[Array], samplings_A: Sequence[float]) -> Iterator[list[int]]:
        """Indices of frames that go together: equal shape and sampling, no more than the network takes at once."""
        alike: dict[tuple[int, int, float], list[int]] = defaultdict(list)
        for number, (frame, sampling_A) in enumerate(zip(frames, samplings_A, strict=True)):
            if frame.ndim != 2:
                raise ValueError(f"an array of shape {frame.shape} is not one frame [height, width]")
            if not (math.isfinite(sampling_A) and sampling_A > 0):
                raise ValueError(f"{sampling_A} Å/px is not a sampling")
            alike[frame.shape[0], frame.shape[1], sampling_A].append(number)
        for (height, width, sampling_A), numbers in alike.items():
            h, w = canonical_shape(height, width, sampling_A, self.manifest.canonical_sampling_A)
            size = max(1, self.batch_px // (h * w))
            for start in range(0, len(numbers), size):
                yield numbers[start : start + size]

    def _work(self, frame: Array, sampling_A: float, detector: Detector) -> _Work:
        begun = time.perf_counter()
        exposure = Exposure.of(frame, detector.black_level or 0.0)
        checks = self.gate.pixels(exposure, sampling_A)
        return _Work(exposure, detector, checks, reading_ms=(time.perf_counter() - begun) * 1e3)

    @torch.inference_mode()
    def _predict(self, work: list[_Work], sampling_A: float, detail: Detail) -> list[Prediction]:
        """The answers to a batch of frames of one shape and sampling."""
        shape = work[0].exposure.shape
        clock = _Clock()
        x_Bhw, dose_B = self._prepare(work, sampling_A)
        clock.lap("prepare_ms")
        clock.laps["prepare_ms"] += sum(one.reading_ms for one in work)
        if len(x_Bhw):
            alive = [one for one in work if not one.refused]
            heads = self._network(x_Bhw)
            field_A = min(shape) * sampling_A
            for number, checks in enumerate(self.gate.network(heads, dose_B, field_A)):
                one = alive[number]
                one.checks += self.gate.unseen(one.checks, heads.centre_BHW[number], one.dose, shape, sampling_A)
                one.checks += checks
            clock.lap("network_ms")
            self._read(alive, x_Bhw, heads, dose_B, shape, sampling_A, detail)
            clock.lap("columns_ms")
        timings = Timings(**clock.laps)
        return [
            Prediction(
                version=self.version,
                height=shape[0],
                width=shape[1],
                sampling_A=sampling_A,
                dose=one.dose,
                verdict=Verdict(tuple(one.checks)),
                columns=one.columns,
                maps=one.maps or refused_maps(shape, detail),
                timings=timings,
                conditions=one.conditions,
            )
            for one in work
        ]

    def _prepare(self, work: list[_Work], sampling_A: float) -> tuple[Tensor, Tensor]:
        """Network input [B, h, w] and dose [B] of the frames that no check refuses, which need no network."""
        alive = [one for one in work if not one.refused]
        if not alive:
            return torch.empty(0), torch.empty(0)
        images = [one.exposure.intensity for one in alive if one.exposure.intensity is not None]
        frames_BHW = torch.from_numpy(np.stack(images)).to(self.device)
        noise = measured_noise(frames_BHW, sampling_A)
        x_Bhw = prepare(frames_BHW, sampling_A, self.manifest.canonical_sampling_A)
        of_frames = self.gate.spectrum(x_Bhw, noise.dose, work[0].exposure.shape, sampling_A)
        for one, of_frame, checks in zip(alive, noise.each(), of_frames, strict=True):
            one.dose = of_frame.dose
            one.checks += self.gate.noise(one.exposure, of_frame, sampling_A, one.detector)
            one.checks += checks
        keep_B = torch.tensor([not one.refused for one in alive], device=self.device)
        return x_Bhw[keep_B], noise.dose[keep_B]

    def _read(
        self,
        alive: list[_Work],
        x_Bhw: Tensor,
        heads: Heads,
        dose_B: Tensor,
        shape: tuple[int, int],
        sampling_A: float,
        detail: Detail,
    ) -> None:
        """Fill in columns and maps of the frames that are still not refused."""
        reading = first = self.reading(heads, dose_B)
        conditions: list[Conditions | None] = [None] * len(alive)
        if self.second is not None:
            reading, conditions = self.second(first, x_Bhw, dose_B)
        columns = self.tables(reading, heads, shape)
        temperature_B = temperature(self.manifest.calibration.pixel, dose_B)
        for number, one in enumerate(alive):
            masked, seen = one.exposure.masked, columns[number]
            if masked is not None:
                seen = recorded(seen, masked, sampling_A)
            if not one.refused:
                one.columns, one.conditions = seen, conditions[number]
                one.checks += checks_of(one.conditions, self.second.description.known) if self.second else []
                change = self.second.change(first, reading, number) if self.second and detail.maps else None
                logits_KHW = heads.depth_BKHW[number]
                one.maps = read_maps(logits_KHW, temperature_B[number], shape, detail, masked, change)

    def reading(self, heads: Heads, dose_B: Tensor) -> Reading:
        """What the first stage says of columns; `dose_B` is the frames' measured dose [e/Å²]."""
        return read(heads, dose_B, self.manifest.calibration, self.manifest.canonical_sampling_A)

    def tables(self, reading: Reading, heads: Heads, shape: tuple[int, int]) -> list[Columns]:
        """Columns of each frame of a batch; `shape` [px] is that of the caller's frames."""
        frames, height, width = heads.centre_BHW.shape
        return tables(reading, frames, (height, width), shape, self.manifest.calibration.abstain_below)


class _Clock:
    """Time between laps [ms]."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = (now - self._last) * 1e3
        self._last = now
