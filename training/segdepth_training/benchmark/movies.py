"""Pooling examined: ten frames at 500 e/Å² of columns that stand still, against one at 5000 and against their sum."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segdepth_artefacts.manifest import Manifest, Pooling
from segdepth_core.prediction import Prediction
from segdepth_core.scoring import BORDER_A, inside
from segdepth_protos.contract import CLASSES
from segdepth_protos.pooling import Pooled, pooled
from segdepth_training.benchmark.contenders import Load, Released
from segdepth_training.fitting.pooling import posteriors_of
from segdepth_training.frames.exit_waves import ExitWaves, Plan, load
from segdepth_training.frames.observation import Observation, conditions, movie, observe
from segdepth_training.judging.figures import debiased_calibration_error, mean
from segdepth_training.machine.storage import Storage
from segdepth_training.specimens.specimen import FAMILIES

FRAMES, DOSE = 10, 500.0
"""Of a movie; e/Å² of a frame."""

WAYS = ("pooled", "posteriors", "one", "summed")
"""The frames' posteriors pooled, and in their place their sum's where it shows the column; the posteriors alone; one
frame of the whole dose; the sum alone."""

ROW = np.dtype(
    [
        *(("specimen", "i4"), ("family", "U10"), ("true", "i2"), ("species", "i2")),
        *((kind, type_) for name in WAYS for kind, type_ in ((name, "i2"), (f"p_{name}", "f4"))),
        ("first", "i2"),
    ]
)
"""A true column: counts and their probabilities in each of WAYS, and the count of the first frame alone; -1 where it
was not found."""

RULES = 5
"""Counts up whenever the same movie gives other rows: rows kept before are not used again."""


@dataclass(frozen=True)
class Movies:
    """Movies of the first specimens of a plan, and the released model that is asked about them."""

    storage: Storage
    plan: Plan
    folder: Path

    def rows(
        self, specimens: int, kept: Path, progress: Callable[[int, int], None], pool: ProcessPoolExecutor
    ) -> NDArray[np.void] | None:
        """Of `specimens` of each family; None for a model that cannot pool. Those in `kept` are not asked again."""
        manifest = Manifest.model_validate_json((self.folder / "manifest.json").read_text())
        if manifest.pooling is None:
            return None
        kept = kept / f"rules-{RULES}"
        kept.mkdir(parents=True, exist_ok=True)
        paths = {index: kept / f"{index:05d}.npy" for index in range(len(FAMILIES) * specimens)}
        tasks = [pool.submit(self.keep, i, path, manifest.pooling) for i, path in paths.items() if not path.exists()]
        progress(len(paths) - len(tasks), len(paths))
        for number, task in enumerate(as_completed(tasks)):
            task.result()
            progress(len(paths) - len(tasks) + number + 1, len(paths))
        return np.concatenate([np.load(path) for path in paths.values()])

    def keep(self, index: int, path: Path, numbers: Pooling) -> None:
        """Keep the rows of one specimen, whole or not at all."""
        torch.set_num_threads(1)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, self._of(index, numbers))
        partial.replace(path)

    def _of(self, index: int, numbers: Pooling) -> NDArray[np.void]:
        contender = Load(self.folder)()
        assert isinstance(contender, Released)
        waves = load(self.storage, self.plan, torch.device("cpu"), range(index, index + 1))
        frames = movie(waves, self.plan, index, DOSE, FRAMES)
        answers = [contender.answer(frame) for frame in frames]
        whole = contender.answer(at_dose(waves, self.plan, index, DOSE * FRAMES))
        summed = contender.answer(added(frames))
        truth = frames[0].columns
        said = together(frames[0], answers, numbers, summed)
        without_sum = together(frames[0], answers, numbers)
        rows = np.zeros(len(truth), ROW)
        rows["specimen"], rows["family"] = index, frames[0].family
        rows["true"] = np.minimum(truth[:, 2], CLASSES - 1)
        rows["species"] = truth[:, 3]
        rows["pooled"], rows["p_pooled"] = answered(said)
        rows["posteriors"], rows["p_posteriors"] = answered(without_sum)
        for name, answer in (("one", whole), ("summed", summed)):
            rows[name], rows[f"p_{name}"] = counted(frames[0], answer)
        rows["first"], _ = counted(frames[0], answers[0])
        border = BORDER_A / frames[0].sampling_A
        return rows[inside(truth[:, :2], frames[0].frame.shape, border)]


def at_dose(waves: ExitWaves, plan: Plan, index: int, dose: float) -> Observation:
    """One frame under the conditions of the movie, but for its dose."""
    exposure = conditions(plan, index, DOSE).exposure

    def alter(optics: Any, _: Any) -> Any:
        return optics, dataclasses.replace(exposure, dose=torch.full_like(exposure.dose, dose))

    return observe(waves, plan, index, DOSE, alter=alter)


def added(frames: list[Observation]) -> Observation:
    """The sum of frames of one movie."""
    return dataclasses.replace(frames[0], frame=np.stack([frame.frame for frame in frames]).sum(axis=0))


def answered(said: Pooled) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pooled count of each column and its probability; -1 and NaN for what is no column."""
    count = np.where(said.seen, said.posterior.argmax(1), -1)
    return count, np.where(said.seen, said.posterior.max(1), np.nan)


def counted(first: Observation, answer: Prediction) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count of each true column in one answer and its probability, -1 and NaN where it was not found."""
    posterior = posteriors_of(first, answer)
    found = np.isfinite(posterior).all(axis=1)
    return np.where(found, np.nan_to_num(posterior).argmax(axis=1), -1), posterior.max(axis=1)


def together(
    first: Observation, answers: list[Prediction], numbers: Pooling, summed: Prediction | None = None
) -> Pooled:
    """The answers to a movie, and the one to its sum, pooled at its true columns."""
    posteriors = np.stack([posteriors_of(first, answer) for answer in answers])
    prior = np.array(numbers.prior)[first.columns[:, 3].astype(int)]
    correlation = float(np.interp(np.log(DOSE), np.log(numbers.dose), numbers.correlation))
    total = None if summed is None else posteriors_of(first, summed)
    return pooled(posteriors, prior, correlation, total)


def figures(rows: NDArray[np.void] | None) -> dict[str, dict[str, Any]]:
    """By family: shares of right counts, their paired differences, calibration."""
    if rows is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for family in FAMILIES:
        some = rows[rows["family"] == family]
        if not len(some):
            continue
        who = some["specimen"]
        right = {name: (some[name] == some["true"]).astype(float) for name in (*WAYS, "first")}
        found[family] = {
            "columns": len(some),
            **{name: vars(mean(hit, who)) for name, hit in right.items()},
            "against_one": vars(mean(right["pooled"] - right["one"], who)),
            "against_summed": vars(mean(right["pooled"] - right["summed"], who)),
            "ece": _error(some, "pooled"),
            **{f"ece_{name}": _error(some, name) for name in WAYS[1:]},
        }
    return found


def _error(rows: NDArray[np.void], name: str) -> dict[str, float]:
    seen = rows[rows[name] >= 0]
    return vars(debiased_calibration_error(seen[f"p_{name}"], seen[name] == seen["true"], seen["specimen"]))
