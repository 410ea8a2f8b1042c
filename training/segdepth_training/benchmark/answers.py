"""Answers of a contender to every frame of the benchmark, block by block of specimens. Resumable at any moment."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from segdepth_core.prediction import Prediction
from segdepth_core.scoring import score
from segdepth_training.benchmark import shifts
from segdepth_training.benchmark.contenders import Entry
from segdepth_training.benchmark.definition import DOSES
from segdepth_training.frames.exit_waves import ExitWaves, Plan, load
from segdepth_training.frames.observation import Observation, observations
from segdepth_training.machine.processes import spans
from segdepth_training.machine.storage import Storage

BLOCK = 9
"""Specimens of a block: as many of each family."""


FRAME = np.dtype(
    [
        *(("specimen", "i4"), ("dose", "f8"), ("family", "U10"), ("status", "i2"), ("lattice", "i2")),
        *(("columns", "i4"), ("width", "f4")),
    ]
)
"""One row for each frame: its verdict and that of the lattice check alone (0 = not asked), how many columns were
answered, and how wide their intervals are on average."""

RULES = 1
"""Counts up whenever the same frame gives other rows: answers kept before are not used again."""


class Answers(NamedTuple):
    """Rows of columns and of frames."""

    columns: NDArray[np.void]
    frames: NDArray[np.void]


@dataclass(frozen=True)
class Frames:
    """The frames that contenders answer: where the exit waves are, whose plan they are of, and the shift, if any."""

    storage: Storage
    plan: Plan
    shift: str = ""

    @property
    def per_specimen(self) -> int:
        """Frames of one specimen."""
        return len(shifts.DOSES if self.shift else DOSES.doses)

    def observations(self, waves: ExitWaves) -> Iterator[Observation]:
        """Of some of the specimens."""
        if self.shift:
            return shifts.BY_NAME[self.shift].observations(waves, self.plan)
        return observations(waves, self.plan, DOSES)

    def spans(self) -> list[range]:
        """Blocks of specimens."""
        return spans(self.plan.specimens, BLOCK)


def examined(
    entry: Entry, frames: Frames, folder: Path, progress: Callable[[int, int], None], pool: ProcessPoolExecutor
) -> Answers:
    """All answers; those in `folder` are not asked for again. progress(frames done, frames in all)."""
    ours = folder / f"{entry.name.replace(' ', '-')}-{entry.key}" / (frames.shift.replace(" ", "-") or "families")
    paths = {span: ours / f"{span.start:05d}-{span.stop:05d}.npz" for span in frames.spans()}
    todo = [span for span, path in paths.items() if not path.exists()]
    total = frames.plan.specimens * frames.per_specimen
    done = total - sum(map(len, todo)) * frames.per_specimen
    progress(done, total)
    tasks = {pool.submit(examine_block, entry, frames, span, paths[span]): span for span in todo}
    for task in as_completed(tasks):
        task.result()
        done += len(tasks[task]) * frames.per_specimen
        progress(done, total)
    parts = [np.load(path) for path in paths.values()]
    return Answers(*(np.concatenate([part[name] for part in parts]) for name in Answers._fields))


_made: dict[str, Any] = {}
"""The contender of this process: making one takes longer than a frame."""


def examine_block(entry: Entry, frames: Frames, span: range, path: Path) -> None:
    """Keep the answers to some specimens, whole or not at all."""
    torch.set_num_threads(1)
    if entry.key not in _made:
        _made[entry.key] = entry.make()
    rows, verdicts = [], []
    for observation in frames.observations(load(frames.storage, frames.plan, torch.device("cpu"), span)):
        prediction = _made[entry.key].answer(observation)
        rows.append(score(observation.truth, prediction))
        verdicts.append(verdict(observation, prediction))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **Answers(np.concatenate(rows), np.array(verdicts, FRAME))._asdict())
    partial.replace(path)


def verdict(observation: Observation, prediction: Prediction) -> tuple[Any, ...]:
    """The frame's own row."""
    columns = prediction.columns
    width = float((columns.hi90.astype(int) - columns.lo90 + 1).mean()) if len(columns) else float("nan")
    status = int(prediction.verdict.status)
    lattice = max((int(check.status) for check in prediction.verdict.checks if check.name == "lattice"), default=0)
    return observation.specimen, observation.dose, observation.family, status, lattice, len(columns), width
