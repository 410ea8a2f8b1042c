"""The frames in which the model is most wrong and most sure of it, drawn with what it got wrong."""

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from numpy.typing import NDArray

from segdepth_core.prediction import Prediction
from segdepth_protos.matching import MATCH_A, match
from segdepth_training.benchmark.contenders import Contender
from segdepth_training.frames.exit_waves import Plan, load
from segdepth_training.frames.observation import Observation, conditions, observe
from segdepth_training.machine.storage import Storage
from segdepth_training.specimens.specimen import FAMILIES

DOSE, EACH = 500.0, 2
"""e/Å² of the frames, and how many of each family."""


class Worst(NamedTuple):
    """A frame: its family and specimen, share of right counts, and the mean probability stated for the wrong ones."""

    family: str
    specimen: int
    right: float
    sure: float


def worst(rows: NDArray[np.void]) -> list[Worst]:
    """Of each family the answered frames with most stated probability on wrong counts, the worst first."""
    found = rows[rows["found"] & (rows["dose"] == DOSE)]
    frames = []
    for family in FAMILIES:
        ours = found[found["family"] == family]
        judged = []
        for specimen in np.unique(ours["specimen"]):
            some = ours[ours["specimen"] == specimen]
            wrong = some["count"] != some["true"]
            sure = float(some["p_count"][wrong].mean()) if wrong.any() else 0.0
            judged.append(Worst(family, int(specimen), float(1 - wrong.mean()), sure))
        judged.sort(key=lambda frame: (frame.right - 1) * frame.sure)
        frames += judged[:EACH]
    return frames


def draw_worst(frames: list[Worst], storage: Storage, plan: Plan, contender: Contender, path: Path) -> None:
    """A picture of each frame, its columns coloured by answered less true count."""
    lines = -(-len(frames) // EACH)
    figure, axes = plt.subplots(EACH, lines, figsize=(4.2 * lines, 4.4 * EACH), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    shown = None
    for number, frame in enumerate(frames):
        waves = load(storage, plan, torch.device("cpu"), range(frame.specimen, frame.specimen + 1))
        observation = observe(waves, plan, frame.specimen, DOSE)
        axis = axes[number % EACH, number // EACH]
        shown = _draw(axis, observation, contender.answer(observation))
        defocus_A = float(conditions(plan, frame.specimen, DOSE).optics.c10_A[0])
        axis.set_title(
            f"{frame.family} {frame.specimen}: {frame.right:.0%} right, wrong ones at {frame.sure:.2f}\n"
            f"{observation.sampling_A:.3g} Å/px, defocus {defocus_A:.0f} Å",
            fontsize=9,
        )
    if shown is not None:
        figure.colorbar(shown, ax=axes, label=f"answered less true count [atoms], {DOSE:g} e/Å²", shrink=0.6)
    figure.savefig(path, dpi=80, pil_kwargs={"quality": 75})
    plt.close(figure)


def _draw(axis: Axes, observation: Observation, answer: Prediction) -> PathCollection:
    """One frame; a cross is a true column that was not found."""
    frame, truth, columns = observation.frame, observation.columns, answer.columns
    high = float(np.quantile(frame, 0.995))
    axis.imshow(frame, cmap="gray", vmax=high, interpolation="nearest")
    inside = (truth[:, :2] >= 0).all(1) & (truth[:, :2] <= np.array(frame.shape[::-1]) - 1).all(1)
    truth = truth[inside]
    index = match(truth[:, :2], columns.xy_px, MATCH_A / observation.sampling_A)
    hit = index >= 0
    axis.scatter(truth[~hit, 0], truth[~hit, 1], marker="x", s=14, c="yellow", lw=0.8)
    off = columns.count[index[hit]].astype(int) - np.minimum(truth[hit, 2], 10)
    return axis.scatter(
        truth[hit, 0], truth[hit, 1], c=off, cmap="coolwarm", vmin=-2, vmax=2, s=12, edgecolors="black", lw=0.2
    )
