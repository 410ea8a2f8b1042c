"""Teaching a model what is foreign to it: frames of its domain against simulated strangers, by the network's features.

Strangers are other crystals and other zone axes, the own crystal tilted too far, and known specimens seen with defocus
or aberrations outside the recipe's. Known are the specimens that calibrate, which set the limits, and those that the
network was trained on: with more of them fewer strangers pass.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segdepth_artefacts.manifest import Manifest, Range
from segdepth_core.domain import SMALLEST_FIELD_A
from segdepth_core.familiarity import CHECK, FAMILIARITY, Familiarity, log_dose, powers, save_familiarity
from segdepth_core.network import UNet, frame_means
from segdepth_core.prepare import prepare
from segdepth_core.spectrum import measured_dose
from segdepth_core.tiling import pad
from segdepth_core.weights import fold_norms, load_network, memory_format
from segdepth_training.fitting import model
from segdepth_training.fitting.examples import widening
from segdepth_training.frames.exit_waves import Plan, load
from segdepth_training.frames.observation import Observation, observe
from segdepth_training.frames.strangers import StrangerPlan, altered
from segdepth_training.machine.processes import in_processes, spans
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.seeds import generator

MOST_TRAINED = 900
"""Specimens that are looked at of those that the network was trained on."""

OK_SHARE, ANSWERED_SHARE = 0.984, 0.993
"""Share of the domain's frames that is neither suspect nor refused, and that is not refused."""

FEWEST_ELECTRONS_PER_A2 = 100.0
"""The thresholds are set on frames of at least this dose."""

BLOCK = 12
"""Specimens whose frames a process looks at at once."""

FOLDS, HIDDEN, EPOCHS, BATCH = 3, 64, 24, 64
"""Features far outnumber the specimens: a few small classifiers, each trained briefly on part of the known ones, tell
strangers that one trained to the end on all does not."""


class Seen(NamedTuple):
    """What the network saw of n frames: means of features [n, C], dose [e/Å²], shorter side [Å], fold, foreign or not.

    A fold's frames set the limits, by the classifier that was not trained on them; -1: in no fold, all are trained on.
    """

    means: Tensor
    dose: Tensor
    field_A: Tensor
    fold: Tensor
    foreign: Tensor

    def only(self, keep: Tensor) -> "Seen":
        """Some of the frames."""
        return Seen(*(part[keep] for part in self))


class Waves(NamedTuple):
    """Where exit waves are, the plan that they are of, and of how many of its specimens."""

    data: Storage
    plan: Plan
    specimens: int


@dataclass(frozen=True)
class Source:
    """Frames to look at: how many of each exit wave."""

    of: Waves
    frames: int
    altered: bool = False
    """Seen under conditions outside the recipe's."""
    folds: bool = False
    """Some of every family in each fold; the plan's families come in turn."""
    instruments: bool = False
    """A share of the frames is of the instruments that the recipe's second stage names."""

    @property
    def foreign(self) -> bool:
        """Whether the frames are foreign to the model, by what they show or by how it is seen."""
        return self.altered or isinstance(self.of.plan, StrangerPlan)

    def __len__(self) -> int:
        return self.frames * self.of.specimens

    def observations(self, stream: int, span: range) -> Iterator[tuple[Observation, int]]:
        """The frames of some specimens and the fold of each, at doses over the camera's range, a tenth without noise.

        Half of them are cut to a random field: what a small frame shows scatters more. Another `stream`, other frames.
        """
        data, plan, _ = self.of
        waves = load(data, plan, torch.device("cpu"), span)
        low, high = plan.recipe.camera.dose
        for index in span:
            for repeat in range(self.frames):
                rng = generator(plan.purpose, plan.seed, index, 7 + stream, repeat)
                dose = float("inf") if rng.random() < 0.1 else float(np.exp(rng.uniform(np.log(low), np.log(high))))
                alter = altered(rng, plan.recipe) if self.altered else None
                if self.instruments:
                    numbers = torch.Generator().manual_seed(int(rng.integers(2**62)))
                    alter = widening(plan.recipe.second_stage, numbers, alter)
                seen = observe(waves, plan, index, dose, 100 + repeat, alter)
                frame = cut(rng, seen) if rng.random() < 0.5 else seen
                yield frame, index // 3 % FOLDS if self.folds else -1


def sources(calibrating: Waves, trained: Waves, strange: Waves, *, instruments: bool = False) -> tuple[Source, ...]:
    """All that is looked at; strangers through the same instruments, so that these tell nothing."""
    seen = (
        Source(calibrating, 6, folds=True),
        Source(calibrating, 2, altered=True),
        Source(trained, 4),
        Source(trained, 1, altered=True),
        Source(strange, 4),
    )
    return tuple(dataclasses.replace(one, instruments=instruments) for one in seen)


def cut(rng: np.random.Generator, observation: Observation) -> Observation:
    """A random part of a frame, at least SMALLEST_FIELD_A wide."""
    height, width = observation.frame.shape
    smallest = min(int(np.ceil(SMALLEST_FIELD_A / observation.sampling_A)), height, width)
    side = int(rng.integers(smallest, min(height, width) + 1))
    y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return dataclasses.replace(observation, frame=observation.frame[y : y + side, x : x + side].copy())


def look(folder: Path, looked_at: Sequence[Source], progress: Callable[[int, int], None], processes: int) -> Seen:
    """What the network of the model in `folder` sees of known and of foreign frames."""
    tasks = [
        (folder, source, stream, span)
        for stream, source in enumerate(looked_at)
        for span in spans(source.of.specimens, BLOCK)
    ]
    found: dict[int, Seen] = {}
    for number, seen in in_processes(_look_at, tasks, processes):
        found[number] = seen
        progress(sum(len(one.dose) for one in found.values()), sum(map(len, looked_at)))
    columns = zip(*(found[number] for number in range(len(tasks))), strict=True)
    return Seen(*(torch.cat(parts) for parts in columns))


@torch.inference_mode()
def _look_at(folder: Path, source: Source, stream: int, span: range) -> Seen:
    manifest, network = _network(folder)
    rows = []
    for seen, fold in source.observations(stream, span):
        frame = torch.from_numpy(seen.frame)[None]
        x_Bhw = pad(prepare(frame, seen.sampling_A, manifest.canonical_sampling_A), network.config.stride)
        means = frame_means(network.encode(x_Bhw))[0]
        field_A = min(seen.frame.shape) * seen.sampling_A
        rows.append((means, float(measured_dose(frame, seen.sampling_A)), field_A, fold, source.foreign))
    columns = list(zip(*rows, strict=True))
    return Seen(torch.stack(list(columns[0])), *(torch.tensor(column) for column in columns[1:]))


@cache
def _network(folder: Path) -> tuple[Manifest, UNet]:
    """A process loads it once."""
    manifest = model.read(folder)
    return manifest, memory_format(fold_norms(load_network(folder, manifest)))


def fitted(seen: Seen) -> tuple[Familiarity, Range]:
    """The classifier, the mean of one for each fold; and its check's range, from what each says of its own fold."""
    members, logits = [], torch.full((len(seen.fold),), torch.nan)
    for number in range(FOLDS):
        ours = seen.fold == number
        members.append(trained(seen.only(~ours), seen.only(~seen.foreign), number))
        if ours.any():
            with torch.no_grad():
                own = seen.only(ours)
                logits[ours] = members[-1](own.means, own.dose, own.field_A)
    enough = (seen.fold >= 0) & (seen.dose >= FEWEST_ELECTRONS_PER_A2)
    enough = enough if enough.any() else seen.fold >= 0  # A few specimens without noise, as in tests.
    slope = slope_by_dose(logits[enough], seen.dose[enough])
    return joined(members, slope), permitted(logits[enough] - slope * log_dose(seen.dose[enough]))


def joined(members: Sequence[Familiarity], slope: float) -> Familiarity:
    """The mean of classifiers, less `slope` for every decade of the dose."""
    parts = [member.state_dict() for member in members]
    features, inputs = parts[0]["mean"].shape[1], parts[0]["hidden.weight"].shape[1]
    # One more unit is the dose itself: shifted, so that it is never cut off, and shifted back at the end.
    dose_unit = torch.zeros(1, inputs)
    dose_unit[0, features] = 1.0
    shift = 10.0
    judge = Familiarity(features, HIDDEN * len(members) + 1)
    judge.load_state_dict(
        {
            **parts[0],
            "hidden.weight": torch.cat([*(part["hidden.weight"] for part in parts), dose_unit]),
            "hidden.bias": torch.cat([*(part["hidden.bias"] for part in parts), torch.tensor([shift])]),
            "out.weight": torch.cat(
                [*(part["out.weight"] / len(members) for part in parts), torch.tensor([[-slope]])], dim=1
            ),
            "out.bias": torch.stack([part["out.bias"] for part in parts]).mean(0) + slope * shift,
        }
    )
    return judge.eval()


def slope_by_dose(logits: Tensor, dose: Tensor) -> float:
    """How the upper end of known frames' logits changes with each decade of the dose.

    The fewer electrons, the more a known frame may look foreign: one limit for all doses would refuse more of those
    than it may, and let pass more of the others than it need. From the quantile of each half of the doses.
    """
    log = log_dose(dose)
    middle = log.median()
    low, high = log < middle, log >= middle
    if min(int(low.sum()), int(high.sum())) < 1 / (1 - OK_SHARE):
        return 0.0
    rise = torch.quantile(logits[high], OK_SHARE) - torch.quantile(logits[low], OK_SHARE)
    return float(rise / (log[high].mean() - log[low].mean()))


def trained(seen: Seen, known: Seen, seed: int) -> Familiarity:
    """One classifier, standardised by the known frames and trained with as much weight on either kind."""
    torch.manual_seed(seed)
    judge = Familiarity(seen.means.shape[1], HIDDEN)
    standardise(judge, known)
    inputs = judge.inputs(seen.means, seen.dose, seen.field_A).float()
    target = seen.foreign.float()
    weight = torch.where(seen.foreign, 0.5 / target.mean(), 0.5 / (1 - target.mean()))
    optimizer = torch.optim.AdamW(judge.parameters(), 1e-3, weight_decay=0.1)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(inputs)).split(BATCH):
            x = F.dropout(inputs[some] + 0.1 * torch.randn(len(some), inputs.shape[1]), 0.2)
            hidden = F.dropout(F.relu(judge.hidden(x)), 0.3)
            logit = judge.out(hidden)[:, 0]
            loss = (F.binary_cross_entropy_with_logits(logit, target[some], reduction="none") * weight[some]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return judge.eval()


def standardise(judge: Familiarity, known: Seen) -> None:
    """Mean and spread of each feature as polynomials in the logarithm of the dose, by least squares."""
    log = log_dose(known.dose).double()
    means = known.means.double()
    expected = torch.linalg.lstsq(powers(log, len(judge.mean)), means, driver="gelsd").solution
    rest = (means - powers(log, len(judge.mean)) @ expected).abs() + 1e-6
    # The mean of the logarithm of a normal deviate's size is -0.635.
    spread = torch.linalg.lstsq(powers(log, len(judge.spread)), rest.log() + 0.635, driver="gelsd").solution
    judge.mean.copy_(expected)
    judge.spread.copy_(spread)


def permitted(logits: Tensor) -> Range:
    """The check's range, from known frames that the classifiers were not trained on."""
    ok, answered = (float(torch.quantile(logits.double(), share)) for share in (OK_SHARE, ANSWERED_SHARE))
    return Range(upper=round(answered, 3), ok_upper=round(ok, 3))


def familiarise(
    folder: Path, looked_at: Sequence[Source], progress: Callable[[int, int], None], processes: int = 1
) -> Manifest:
    """Fit what is foreign to the model in `folder`; writes it beside the weights and the check to the manifest."""
    manifest = model.read(folder)
    _network.cache_clear()  # What lies in a folder may be another model than last time.
    seen = look(folder, looked_at, progress, processes)
    judge, check = fitted(Seen(*(part.clone() for part in seen)))
    save_familiarity(judge, folder)
    domain = manifest.domain.model_copy(update={"checks": {**manifest.domain.checks, CHECK: check}})
    files = {**manifest.files, FAMILIARITY: model.described(folder / FAMILIARITY)}
    manifest = manifest.model_copy(update={"domain": domain, "files": files})
    model.write(folder, manifest)
    return manifest
