"""Teaching a model what is foreign to it: frames of its domain against simulated strangers, by the network's features.

Strangers are other crystals and other zone axes, the own crystal tilted too far, and known specimens seen with defocus
or aberrations outside the recipe's. None of them is among the benchmark's shift sets.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segdepth_artefacts.manifest import Manifest, Range
from segdepth_inference.domain import SMALLEST_FIELD_A
from segdepth_inference.familiarity import CHECK, FAMILIARITY, Familiarity, powers, save_familiarity
from segdepth_inference.network import UNet, frame_means
from segdepth_inference.prepare import prepare
from segdepth_inference.spectrum import measured_dose
from segdepth_inference.tiling import pad
from segdepth_inference.weights import fold_norms, load_network, memory_format
from segdepth_training import model
from segdepth_training.exit_waves import ExitWaves, Plan
from segdepth_training.foreign import strangers
from segdepth_training.imaging import Exposure, Optics
from segdepth_training.lattice import project
from segdepth_training.observation import Alter, Observation, observe
from segdepth_training.recipe import Recipe
from segdepth_training.seeds import generator
from segdepth_training.specimen import Specimen, draw

TILT_DEG = (1.2, 4.0)
"""Tilts off the zone axis that are foreign [°]; up to 0.7° are in the domain."""

BEYOND_A = (15.0, 150.0)
"""How far a foreign defocus lies outside the recipe's range [Å]."""

TIMES = (3.0, 10.0)
"""A foreign aberration is so many times the recipe's largest."""

FRAMES = {"known": 6, "altered": 2, "stranger": 3}
"""Frames of each exit wave."""

OK_SHARE, ANSWERED_SHARE = 0.978, 0.993
"""Share of the domain's frames that is neither suspect nor refused, and that is not refused."""

FEWEST_ELECTRONS_PER_A2 = 100.0
"""The thresholds are set on frames of at least this dose."""

FOLDS, HIDDEN, EPOCHS, BATCH = 3, 64, 12, 64
"""Features far outnumber the specimens: a few small classifiers, each trained briefly on part of the known ones, tell
strangers that one trained to the end on all does not."""


@dataclass(frozen=True)
class StrangerPlan(Plan):
    """Specimens that are foreign to a model: every fourth is the own crystal tilted, the others other crystals."""

    @property
    def digest(self) -> str:
        """Over which strangers there are, too."""
        told = repr((TILT_DEG, strangers(self.recipe.crystal)))
        return f"{hashlib.sha256(told.encode()).hexdigest()[:16]}-{super().digest}"

    def specimen(self, index: int) -> Specimen:
        """One of them."""
        numbers, limits = generator(self.purpose, self.seed, index), self.recipe.specimens
        if index % 4 == 0:
            tilt_deg = float(numbers.uniform(*TILT_DEG))
            return draw(numbers, project(self.recipe.crystal), limits, self.families, tilt_deg)
        kinds = strangers(self.recipe.crystal)
        return kinds[(index // 4 * 3 + index % 4 - 1) % len(kinds)].specimen(numbers, limits.cell_A)


class Seen(NamedTuple):
    """What the network saw of frames: means of features [n, C], dose [e/Å²], shorter side [Å], specimen, foreign or not
    [n]."""

    means: Tensor
    dose: Tensor
    field_A: Tensor
    specimen: Tensor
    foreign: Tensor

    def only(self, keep: Tensor) -> "Seen":
        """Some of the frames."""
        return Seen(*(part[keep] for part in self))


@dataclass(frozen=True)
class Source:
    """Exit waves and the plan that they are of."""

    waves: ExitWaves
    plan: Plan


def altered(rng: np.random.Generator, recipe: Recipe) -> Alter:
    """Imaging conditions with one of them outside the recipe's."""
    microscope = recipe.microscope
    low_A, high_A = microscope.defocus_A
    beyond_A, times = rng.uniform(*BEYOND_A), rng.uniform(*TIMES)
    what = {
        "over": ("c10_A", high_A + beyond_A),
        "under": ("c10_A", low_A - beyond_A),
        "astigmatism": ("c12_A", times * max(microscope.astigmatism_A, 1.0)),
        "coma": ("c21_A", times * max(microscope.coma_A, 50.0)),
    }
    field, value = what[str(rng.choice(list(what)))]

    def alter(optics: Optics, exposure: Exposure) -> tuple[Optics, Exposure]:
        return dataclasses.replace(optics, **{field: torch.full_like(getattr(optics, field), value)}), exposure

    return alter


def frames_of(source: Source, kind: str) -> Iterator[Observation]:
    """Frames of every exit wave at doses over the camera's range, a tenth of them without noise.

    Half of them are cut to a random field: what a small frame shows scatters more.
    """
    recipe = source.plan.recipe
    low, high = recipe.camera.dose
    for index in range(len(source.waves)):
        for repeat in range(FRAMES[kind]):
            rng = generator(source.plan.purpose, source.plan.seed, index, 7 + list(FRAMES).index(kind), repeat)
            dose = float("inf") if rng.random() < 0.1 else float(np.exp(rng.uniform(np.log(low), np.log(high))))
            alter = altered(rng, recipe) if kind == "altered" else None
            seen = observe(source.waves, source.plan, index, dose, 100 + repeat, alter)
            yield cut(rng, seen) if rng.random() < 0.5 else seen


def cut(rng: np.random.Generator, observation: Observation) -> Observation:
    """A random part of a frame, at least SMALLEST_FIELD_A wide."""
    height, width = observation.frame.shape
    smallest = min(int(np.ceil(SMALLEST_FIELD_A / observation.sampling_A)), height, width)
    side = int(rng.integers(smallest, min(height, width) + 1))
    y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return dataclasses.replace(observation, frame=observation.frame[y : y + side, x : x + side].copy())


def look(
    network: UNet, canonical_A: float, known: Source, strange: Source, progress: Callable[[int, int], None]
) -> Seen:
    """What the network sees of known and of foreign frames."""
    parts = [(known, "known"), (known, "altered"), (strange, "stranger")]
    total, done, rows = sum(FRAMES[kind] * len(source.waves) for source, kind in parts), 0, []
    for source, kind in parts:
        for seen in frames_of(source, kind):
            frame = torch.from_numpy(seen.frame)[None]
            x_Bhw = pad(prepare(frame, seen.sampling_A, canonical_A), network.config.stride)
            means = frame_means(network.encode(x_Bhw))[0]
            field_A = min(seen.frame.shape) * seen.sampling_A
            dose = float(measured_dose(frame, seen.sampling_A))
            rows.append((means, dose, field_A, seen.specimen, kind != "known"))
            done += 1
            progress(done, total)
    columns = list(zip(*rows, strict=True))
    return Seen(torch.stack(list(columns[0])), *(torch.tensor(column) for column in columns[1:]))


def folds(seen: Seen) -> Tensor:
    """The fold of each known specimen, each with as many of every family; -1 for what is foreign: that is in all."""
    return torch.where(seen.foreign, -1, seen.specimen // 3 % FOLDS)


def fitted(seen: Seen) -> tuple[Familiarity, Range]:
    """The classifier, the mean of one for each fold; and its check's range, from what each says of its own fold."""
    fold, features = folds(seen), seen.means.shape[1]
    members, logits = [], torch.full((len(fold),), torch.nan)
    for number in range(FOLDS):
        ours = fold == number
        members.append(trained(seen.only(~ours), seen.only(~seen.foreign), number))
        if ours.any():
            with torch.no_grad():
                own = seen.only(ours)
                logits[ours] = members[-1](own.means, own.dose, own.field_A)
    judge = Familiarity(features, HIDDEN * FOLDS)
    parts = [member.state_dict() for member in members]
    judge.load_state_dict(
        {
            **parts[0],
            "hidden.weight": torch.cat([part["hidden.weight"] for part in parts]),
            "hidden.bias": torch.cat([part["hidden.bias"] for part in parts]),
            "out.weight": torch.cat([part["out.weight"] for part in parts], dim=1) / FOLDS,
            "out.bias": torch.stack([part["out.bias"] for part in parts]).mean(0),
        }
    )
    enough = ~seen.foreign & (seen.dose >= FEWEST_ELECTRONS_PER_A2)
    return judge.eval(), permitted(logits[enough if enough.any() else ~seen.foreign])


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
    log = known.dose.double().clamp(10, 1e5).log10() - 3
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


def familiarise(folder: Path, known: Source, strange: Source, progress: Callable[[int, int], None]) -> Manifest:
    """Fit what is foreign to the model in `folder`; writes it beside the weights and the check to the manifest."""
    manifest = model.read(folder)
    network = memory_format(fold_norms(load_network(folder, manifest)))
    with torch.inference_mode():
        seen = look(network, manifest.canonical_sampling_A, known, strange, progress)
    judge, check = fitted(Seen(*(part.clone() for part in seen)))
    save_familiarity(judge, folder)
    domain = manifest.domain.model_copy(update={"checks": {**manifest.domain.checks, CHECK: check}})
    files = {**manifest.files, FAMILIARITY: model.described(folder / FAMILIARITY)}
    manifest = manifest.model_copy(update={"domain": domain, "files": files})
    model.write(folder, manifest)
    return manifest
