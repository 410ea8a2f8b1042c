"""The benchmark's report: figures as JSON, a page in Markdown, and its pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
from jinja2 import Environment, StrictUndefined
from matplotlib import pyplot as plt

from segdepth_core.prediction import Status
from segdepth_core.scoring import BINS
from segdepth_protos.contract import CLASSES
from segdepth_training.benchmark.answers import Answers
from segdepth_training.benchmark.bars import judged
from segdepth_training.benchmark.definition import Size
from segdepth_training.benchmark.reference_intervals import Intervals
from segdepth_training.judging.evaluate import by_dose_and_family, dose_name
from segdepth_training.judging.figures import paired_difference
from segdepth_training.judging.plots import plot_report
from segdepth_training.specimens.specimen import FAMILIES

TEMPLATE = Path(__file__).parent / "report.md.jinja"
REPORT, PAGE, WORST, INTERVALS = "benchmark.json", "benchmark.md", "worst.jpg", "intervals.json"
ACCURACY, AGAINST, RELIABILITY, CONFUSION = "accuracy.png", "against.png", "reliability.png", "confusion.png"
LOW, SURE = 8, 0.5
"""Of columns of 11-20 atoms: a count as low as that with a probability above this is what must not be."""

CONFUSED_AT = 500.0
"""Dose [e/Å²] of the confusion tables."""


def write_report(
    folder: Path,
    facts: dict[str, Any],
    rows: dict[str, NDArray[np.void]],
    shifted: dict[str, Answers],
    baselines: Sequence[str],
    intervals: Intervals | None = None,
) -> dict[str, Any]:
    """Write everything to `folder`; returns what benchmark.json holds. Size full keeps its intervals, too.

    `facts`: among others the `species` of the columns; `rows`: of each contender, the model first; `shifted`: the
    model's answers to each shift set; `baselines`: names of the contenders that the model must beat; `intervals`: of
    full, to stand beside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contenders = {name: by_dose_and_family(each, facts["species"]) for name, each in rows.items()}
    model = next(iter(rows))
    shifts = {name: shift_figures(answers) for name, answers in shifted.items()}
    against = {name: differences(rows[model], rows[name]) for name in baselines}
    bars = [vars(bar) for bar in judged(contenders[model], shifts, facts["bound"], facts["movies"], against)]
    said = {"model": model, "bars": bars, "contenders": contenders, "against": against, "shifts": shifts}
    report = {**facts, **said}
    if facts["size"] == Size.FULL:
        Intervals.of(report).write(folder / INTERVALS)
    beside = intervals.beside(contenders) if intervals else []
    (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n")
    plot_report({"families": contenders[model]}, folder / ACCURACY)
    plot_against(contenders, folder / AGAINST)
    plot_reliability(rows[model], folder / RELIABILITY)
    plot_confusion(rows[model], facts["species"], folder / CONFUSION)
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    page = environment.from_string(TEMPLATE.read_text()).render(**report, beside=beside, families=FAMILIES)
    (folder / PAGE).write_text(page)
    return report


def differences(ours: NDArray[np.void], theirs: NDArray[np.void]) -> dict[str, dict[str, Any]]:
    """How many more of our counts are right than of theirs, a share, as report[family][dose]; specimens paired."""
    found: dict[str, dict[str, Any]] = {}
    for family in FAMILIES:
        for dose in np.unique(ours["dose"]):
            pair = [rows[(rows["family"] == family) & (rows["dose"] == dose)] for rows in (ours, theirs)]
            found.setdefault(family, {})[dose_name(float(dose))] = vars(paired_difference(*pair, counts=True))
    return found


def plot_against(contenders: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """Share of right counts by dose, a panel for each family, a line for each contender."""
    figure, axes = plt.subplots(1, len(FAMILIES), figsize=(4 * len(FAMILIES), 3.8), layout="constrained", sharey=True)
    for axis, family in zip(axes, FAMILIES, strict=True):
        for name, report in contenders.items():
            exact = [figures["exact"] for figures in report[family].values()]
            values = np.array([(one["value"], one["low"], one["high"]) for one in exact])
            (line,) = axis.plot([*report[family]], values[:, 0], marker=".", lw=1, label=name)
            axis.fill_between(range(len(values)), values[:, 1], values[:, 2], color=line.get_color(), alpha=0.15)
        axis.set(title=family, xlabel="e/Å²", ylim=(0, 1))
        axis.tick_params(axis="x", rotation=60)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share of right counts")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(contenders), fontsize=8)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def shift_figures(answers: Answers) -> dict[str, dict[str, float]]:
    """What the model made of a shift set, by dose. Shares of columns are of those in frames it did not refuse."""
    found = {}
    for dose in np.unique(answers.frames["dose"]):
        columns, frames = (part[part["dose"] == dose] for part in answers)
        believed = frames["specimen"][frames["status"] == Status.OK]
        columns = columns[columns["found"] & (columns["true"] > 0)]
        covered = (columns["lo90"] <= columns["true"]) & (columns["true"] <= columns["hi90"])
        low = (columns["count"] <= LOW) & (columns["p_count"] > SURE)
        found[dose_name(float(dose))] = {
            "frames": len(frames),
            "refused": share(frames["status"] == Status.REFUSED),
            "suspect": share(frames["status"] == Status.SUSPECT),
            "lattice_noticed": share(frames["lattice"] >= Status.SUSPECT),
            "columns": len(columns),
            "exact": share(columns["count"] == columns["true"]),
            "within_1": share(np.abs(columns["count"] - columns["true"]) <= 1),
            "interval_covers": share(covered),
            "ok_and_wrong": share(np.isin(columns["specimen"], believed) & ~covered),
            "interval_width": share(columns["hi90"] - columns["lo90"] + 1),
            "ten_or_abstained": share((columns["count"] == CLASSES - 1) | columns["abstained"]),
            "low_and_sure": share(low),
        }
    return found


def share(values: NDArray[Any]) -> float:
    """The mean; NaN of nothing."""
    return float(values.mean()) if len(values) else float("nan")


def plot_reliability(rows: NDArray[np.void], path: Path) -> None:
    """Share of right counts against stated probability, a panel for each family, a line for each dose."""
    figure, axes = plt.subplots(1, len(FAMILIES), figsize=(4 * len(FAMILIES), 3.8), layout="constrained")
    found = rows[rows["found"]]
    for axis, family in zip(axes, FAMILIES, strict=True):
        axis.plot([0, 1], [0, 1], color="grey", lw=0.8)
        for dose in np.unique(found["dose"]):
            some = found[(found["family"] == family) & (found["dose"] == dose)]
            order = np.argsort(some["p_count"], kind="stable")
            bins = [chunk for chunk in np.array_split(order, BINS) if len(chunk)]
            right = some["count"] == some["true"]
            axis.plot(
                [some["p_count"][chunk].mean() for chunk in bins],
                [right[chunk].mean() for chunk in bins],
                marker=".",
                lw=1,
                label=dose_name(float(dose)),
            )
        axis.set(title=family, xlabel="stated probability", ylabel="share of right counts", xlim=(0, 1), ylim=(0, 1))
        axis.grid(alpha=0.3)
    axes[-1].legend(fontsize=7, title="e/Å²")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def plot_confusion(rows: NDArray[np.void], species: Sequence[str], path: Path) -> None:
    """Answered against true count at one dose, each row summing to one: families across, species down."""
    figure, axes = plt.subplots(
        *(len(species), len(FAMILIES)),
        figsize=(3.4 * len(FAMILIES), 3.4 * len(species)),
        layout="constrained",
        squeeze=False,
    )
    for kind, line in enumerate(axes):
        for axis, family in zip(line, FAMILIES, strict=True):
            some = rows[(rows["dose"] == CONFUSED_AT) & (rows["family"] == family) & (rows["true_species"] == kind)]
            some = some[some["true"] > 0]
            answered = np.where(some["found"], some["count"], 0)
            table = np.zeros((CLASSES, CLASSES))
            np.add.at(table, (some["true"].astype(int), answered.astype(int)), 1)
            share = table / np.maximum(1, table.sum(1, keepdims=True))
            axis.imshow(share, origin="lower", vmin=0, vmax=1, cmap="viridis")
            axis.set(title=f"{family}, {species[kind]}, {CONFUSED_AT:g} e/Å²", xlabel="answered", ylabel="true")
            for true, count in zip(*np.nonzero(share > 0.1), strict=True):
                colour = "white" if share[true, count] < 0.6 else "black"
                axis.text(count, true, f"{share[true, count]:.2f}", ha="center", va="center", fontsize=5, color=colour)
    figure.savefig(path, dpi=100)
    plt.close(figure)
