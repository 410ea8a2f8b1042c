"""Calibration: temperatures by dose so that stated probability is observed accuracy, and the contrast of the domain."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from segdepth_artefacts.manifest import Calibration, Manifest, Range, TemperatureTable
from segdepth_artefacts.names import REPORT
from segdepth_core.columns import column_logits, find_columns, to_frame
from segdepth_core.domain import contrast
from segdepth_core.network import Heads
from segdepth_core.predictor import Predictor
from segdepth_core.prepare import CONTRAST_GAIN, prepare
from segdepth_core.scoring import BORDER_A, inside
from segdepth_core.spectrum import Spectrum, measured_dose
from segdepth_protos.contract import CLASSES
from segdepth_protos.matching import MATCH_A, match
from segdepth_training.fitting import model
from segdepth_training.frames.exit_waves import Plan, load
from segdepth_training.frames.labels import View, render
from segdepth_training.frames.observation import Observation, observations
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.recipe import Set

PIXELS = 1500
"""Pixels of a frame that calibrate the pixel temperature."""

ABSTAIN_BELOW = 0.5
"""A count that is more likely wrong than right is abstained."""

CONTRAST_MARGIN = 1.25
"""The contrast may be this factor beyond what 99.8 % of the simulated frames have; half of it is still ok."""


@dataclass
class Sample:
    """Logits and their true classes at one stated dose."""

    dose: list[float] = field(default_factory=list)
    contrast: list[float] = field(default_factory=list)
    column: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    species: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    pixel: list[tuple[Tensor, Tensor]] = field(default_factory=list)


def fitted_temperature(logits_NK: Tensor, classes_N: Tensor) -> float:
    """The temperature of least negative log likelihood (Guo et al., ICML 2017)."""

    def loss(log_temperature: float) -> float:
        scaled = logits_NK.double() / float(np.exp(log_temperature))
        return float(torch.nn.functional.cross_entropy(scaled, classes_N))

    return float(np.exp(minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded").x))


def take(observation: Observation, predictor: Predictor, into: Sample, rng: np.random.Generator) -> None:
    """Add one frame's logits at the columns the predictor finds, and at random pixels."""
    frames = torch.from_numpy(observation.frame)[None]
    heads = predictor.heads(frames, observation.sampling_A)
    dose = measured_dose(frames, observation.sampling_A)
    into.dose.append(float(dose))
    canonical_A = predictor.manifest.canonical_sampling_A
    x_Bhw = prepare(frames, observation.sampling_A, canonical_A)
    spectrum = Spectrum.of(x_Bhw / CONTRAST_GAIN, (canonical_A, canonical_A))
    into.contrast.append(float(contrast(spectrum, dose)))
    take_columns(observation, heads, canonical_A, into)
    take_pixels(observation, heads, into, rng)


def take_columns(observation: Observation, heads: Heads, canonical_A: float, into: Sample) -> None:
    """Depth logits of every found column with its true count (0 where there is none), species logits of true ones."""
    found = find_columns(heads.centre_BHW, canonical_A)
    depth_NK, species_NS = column_logits(heads, found.frame_N, found.xy_N2, canonical_A)
    grid = (heads.centre_BHW.shape[-2], heads.centre_BHW.shape[-1])
    xy_px = to_frame(found.xy_N2, grid, (observation.frame.shape[0], observation.frame.shape[1])).numpy()
    count, kind = truth_of(observation.columns, xy_px, observation.sampling_A)
    keep = inside(xy_px, observation.frame.shape, BORDER_A / observation.sampling_A)
    into.column.append((depth_NK[keep], torch.from_numpy(count[keep])))
    into.species.append((species_NS[keep & (kind >= 0)], torch.from_numpy(kind[keep & (kind >= 0)])))


def truth_of(
    columns: NDArray[np.float32], xy_px: NDArray[np.floating], sampling_A: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Class and species index of the true column [n, 5] at each found one; 0 and -1 where there is none."""
    index = match(columns[:, :2], xy_px, MATCH_A / sampling_A)
    known = np.flatnonzero(index >= 0)
    count, kind = np.zeros(len(xy_px), np.int64), np.full(len(xy_px), -1)
    count[index[known]] = np.minimum(columns[known, 2], CLASSES - 1)
    kind[index[known]] = columns[known, 3]
    return count, kind


def take_pixels(observation: Observation, heads: Heads, into: Sample, rng: np.random.Generator) -> None:
    """Depth logits of random pixels of the canonical grid with their labels."""
    side = heads.centre_BHW.shape[-1]
    here = View(observation.view.pixel_A, (0, 0), observation.view.size, side)
    columns = torch.from_numpy(
        observation.columns[:, :4] * [observation.sampling_A, observation.sampling_A, 1, 1]
    ).float()
    labels = render(columns[None], here, disk_A=0.6, centre_A=0.35).depth[0]
    y, x = (torch.from_numpy(rng.integers(4, side - 4, PIXELS)) for _ in range(2))
    into.pixel.append((heads.depth_BKHW[0, :, y, x].T, labels[y, x]))


def table(samples: list[Sample], head: str) -> TemperatureTable:
    """The temperature of a head at the mean measured dose of each sample, in order of dose."""
    nodes: list[tuple[float, float]] = []
    for sample in samples:
        logits, classes = (torch.cat(parts) for parts in zip(*getattr(sample, head), strict=True))
        if len(classes):
            nodes.append((float(np.exp(np.mean(np.log(sample.dose)))), fitted_temperature(logits, classes)))
    if not nodes:
        raise ValueError(f"the network found nothing to calibrate {head} probabilities with; train it for longer")
    nodes = sorted(dict(nodes).items())
    return TemperatureTable(dose=tuple(d for d, _ in nodes), temperature=tuple(t for _, t in nodes))


def contrast_range(values: NDArray[np.float64]) -> Range:
    """What the gate permits of the contrast, from what in-domain frames have."""
    low, high = (float(v) for v in np.quantile(values, [0.001, 0.999]))
    half = CONTRAST_MARGIN**0.5
    return Range(lower=low / CONTRAST_MARGIN, upper=high * CONTRAST_MARGIN, ok_lower=low / half, ok_upper=high * half)


def temperatures(
    predictor: Predictor, data: Storage, plan: Plan, settings: Set, progress: Callable[[int, int], None]
) -> tuple[Calibration, NDArray[np.float64]]:
    """The calibration that fits a predictor on the plan's specimens, and the contrast of their frames."""
    waves = load(data, plan, torch.device("cpu"))
    samples: dict[float, Sample] = {}
    total = len(waves) * len(settings.doses) * settings.frames_per_dose
    rng = np.random.default_rng(plan.seed)
    with torch.inference_mode():
        for number, observation in enumerate(observations(waves, plan, settings)):
            take(observation, predictor, samples.setdefault(observation.dose, Sample()), rng)
            progress(number + 1, total)
    groups = [samples[dose] for dose in sorted(samples)]
    calibration = Calibration(
        pixel=table(groups, "pixel"),
        column=table(groups, "column"),
        species=table(groups, "species"),
        abstain_below=ABSTAIN_BELOW,
    )
    return calibration, np.concatenate([group.contrast for group in groups])


def calibrate(folder: Path, data: Storage, plan: Plan, settings: Set, progress: Callable[[int, int], None]) -> Manifest:
    """Fit the temperatures of the model in `folder` on the plan's specimens and write them to its manifest."""
    manifest = model.read(folder)
    predictor = Predictor.load(folder, device="cpu", engine="torch-fp32", evaluated=False)
    calibration, contrasts = temperatures(predictor, data, plan, settings, progress)
    checks = {**manifest.domain.checks, "contrast": contrast_range(contrasts)}
    domain = manifest.domain.model_copy(update={"checks": checks})
    # How an earlier calibration pooled says nothing of this one.
    manifest = manifest.model_copy(update={"calibration": calibration, "domain": domain, "pooling": None})
    (folder / REPORT).unlink(missing_ok=True)  # A report on the model before this calibration is none on it.
    model.write(folder, manifest)
    return manifest
