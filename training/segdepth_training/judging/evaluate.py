"""Evaluation: the served path on specimens of the benchmark range, scored by dose and family, with intervals."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segdepth_artefacts.manifest import Engine
from segdepth_artefacts.names import REPORT
from segdepth_artefacts.promotion import TOGETHER
from segdepth_core.engine import BFLOAT16, REFERENCE, choose_device
from segdepth_core.prediction import Detail
from segdepth_core.predictor import Predictor
from segdepth_core.scoring import calibration_error, score
from segdepth_training.fitting import model
from segdepth_training.frames.exit_waves import ExitWaves, Plan, load
from segdepth_training.frames.observation import observations, observe
from segdepth_training.judging.figures import named, paired_difference, summary
from segdepth_training.judging.release_gates import failures
from segdepth_training.machine.processes import in_processes, spans
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.recipe import Gates, Set
from segdepth_training.specimens.specimen import FAMILIES

COMPARED = 24
"""Frames on which engines are compared with the reference."""

BLOCK = 9
"""Specimens that a process answers the frames of at once."""


def dose_name(dose: float) -> str:
    """A dose as the report's keys have it."""
    return "noise-free" if np.isinf(dose) else f"{dose:g}"


@dataclass(frozen=True)
class Rival:
    """What a model is compared with on the same frames: the folder of the family's present stable version."""

    folder: Path
    version: str
    run_id: str
    """Of the run whose gate set the frames are."""


def scored(
    folders: Sequence[Path],
    data: Storage,
    plan: Plan,
    settings: Set,
    progress: Callable[[int, int], None],
    processes: int,
) -> list[NDArray[np.void]]:
    """Rows of every frame of a set, as the model of each folder answers it."""
    blocks = spans(plan.specimens, BLOCK)
    tasks = [(tuple(folders), data, plan, settings, span) for span in blocks]
    rows: dict[int, list[NDArray[np.void]]] = {}
    frames, done = len(settings.doses) * settings.frames_per_dose, 0
    for number, found in in_processes(_scored_block, tasks, processes):
        rows[number] = found
        done += len(blocks[number])
        progress(done * frames, plan.specimens * frames)
    return [np.concatenate([rows[number][which] for number in range(len(blocks))]) for which in range(len(folders))]


def _scored_block(
    folders: tuple[Path, ...], data: Storage, plan: Plan, settings: Set, span: range
) -> list[NDArray[np.void]]:
    """Rows of some of the specimens."""
    rows: list[list[NDArray[np.void]]] = [[] for _ in folders]
    for observation in observations(load(data, plan, torch.device("cpu"), span), plan, settings):
        for folder, into in zip(folders, rows, strict=True):
            detail = Detail(depth_map=True)
            (prediction,) = _loaded(folder).predict([observation.frame], [observation.sampling_A], detail)
            into.append(score(observation.truth, prediction))
    return [np.concatenate(each) for each in rows]


@cache
def _loaded(folder: Path) -> Predictor:
    """A process loads each model once."""
    return Predictor.load(folder, device="auto", engine=REFERENCE, evaluated=False)


def paired(ours: NDArray[np.void], theirs: NDArray[np.void], rival: Rival, plan: Plan) -> dict[str, Any]:
    """Our figures beside the rival's, by dose, all families together."""
    doses = {}
    for dose in np.unique(ours["dose"]):
        pair = [rows[rows["dose"] == dose] for rows in (ours, theirs)]
        found = [rows[rows["found"]] for rows in pair]
        errors = [calibration_error(rows["p_count"], rows["count"] == rows["true"]) for rows in found]
        doses[dose_name(dose)] = {
            "difference": vars(paired_difference(*pair)),
            "ece": errors[0],
            "ece_stable": errors[1],
        }
    return {
        "stable": rival.version,
        "run_id": rival.run_id,
        "seed": plan.seed,
        "specimens": plan.specimens,
        "doses": doses,
    }


def by_dose_and_family(rows: NDArray[np.void], species: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Figures as report[family][dose], all families together first; `species` as `figures.named`."""
    report: dict[str, dict[str, Any]] = {}
    for family in (TOGETHER, *FAMILIES):
        of_family = rows if family == TOGETHER else rows[rows["family"] == family]
        for dose in np.unique(of_family["dose"]):
            report.setdefault(family, {})[dose_name(dose)] = summary(of_family[of_family["dose"] == dose], species)
    return report


def compared_engines(folder: Path, waves: ExitWaves, plan: Plan) -> tuple[Engine, ...]:
    """Each engine that runs here against the reference, on frames of the medium dose: counts and calibration."""
    frames = [observe(waves, plan, index % len(waves), 500.0, 1 + index // len(waves)) for index in range(COMPARED)]
    answers = {}
    for name in (REFERENCE, BFLOAT16):
        predictor = Predictor.load(folder, device="cpu", engine=name, evaluated=False)
        answers[name] = np.concatenate(
            [score(o.truth, predictor.predict([o.frame], [o.sampling_A])[0]) for o in frames]
        )
    reference = answers[REFERENCE]
    engines = []
    for name, rows in answers.items():
        true, other = reference[reference["true"] > 0], rows[rows["true"] > 0]
        equal = float(((true["count"] == other["count"]) & (true["found"] == other["found"])).mean())
        errors = [
            calibration_error(r["p_count"][r["found"]], (r["count"] == r["true"])[r["found"]])
            for r in (rows, reference)
        ]
        engines.append(Engine(name=name, counts_equal=equal, ece_difference=errors[0] - errors[1]))
    return tuple(engines)


def evaluate(
    folder: Path,
    data: Storage,
    plan: Plan,
    settings: Set,
    gates: Gates,
    progress: Callable[[int, int], None],
    rival: Rival | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """Score the model in `folder`, and a rival on the same frames; returns the report.

    Writes report.json to the folder and the engines to its manifest. The report's `missed` are the recipe's own gates
    that it does not reach, `paired` is the comparison with the rival.
    """
    manifest = model.read(folder)
    _loaded.cache_clear()  # What lies in a folder may be another model than last time.
    folders = (folder, *([rival.folder] if rival else []))
    if choose_device("auto").type != "cpu":
        processes = 1  # An accelerator is one for all.
    rows, *others = scored(folders, data, plan, settings, progress, processes)
    waves = load(data, plan, torch.device("cpu"), range(min(COMPARED, plan.specimens)))
    engines = compared_engines(folder, waves, plan)
    families = by_dose_and_family(rows, named(manifest.species))
    report = {
        "family": manifest.family,
        "version": manifest.version,
        "weights_sha256": manifest.weights_sha256,
        "engine": _loaded(folder).version.engine,
        "specimens": plan.specimens,
        "seed_range": plan.purpose.name.lower(),
        "seed": plan.seed,
        "missed": failures({"families": families}, gates),
        "paired": paired(rows, others[0], rival, plan) if rival else None,
        "families": families,
        "engines": [engine.model_dump() for engine in engines],
    }
    model.write(folder, manifest.model_copy(update={"engines": engines}))
    # Last and whole: where there is a report, evaluation is done.
    partial = folder / (REPORT + ".partial")
    partial.write_text(json.dumps(report, indent=1) + "\n")
    partial.replace(folder / REPORT)
    return report
