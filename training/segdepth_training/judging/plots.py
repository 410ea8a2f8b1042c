"""The report as a picture: accuracy and calibration by dose, each family apart."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt


def plot_report(report: dict[str, Any], path: Path) -> None:
    """Write accuracy (with 95 % intervals) and calibration error against dose, as PNG."""
    families = report["families"]
    figure, axes = plt.subplots(1, len(families) + 1, figsize=(3.6 * (len(families) + 1), 3.4), layout="constrained")
    for axis, (family, doses) in zip(axes, families.items(), strict=False):
        names = list(doses)
        for label in ("all", *doses[names[0]]["by_species"]):
            values = [(doses[name] if label == "all" else doses[name]["by_species"][label])["exact"] for name in names]
            error = [[v["value"] - v["low"] for v in values], [v["high"] - v["value"] for v in values]]
            axis.errorbar(range(len(names)), [v["value"] for v in values], yerr=error, marker="o", ms=3, label=label)
        axis.set(title=f"{family}: exact count", ylim=(0, 1), xlabel="dose [e/Å²]")
        axis.set_xticks(range(len(names)), names, rotation=60, fontsize=7)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    for family, doses in families.items():
        axes[-1].plot(range(len(doses)), [figures["ece"] for figures in doses.values()], marker="o", ms=3, label=family)
        axes[-1].set_xticks(range(len(doses)), list(doses), rotation=60, fontsize=7)
    axes[-1].set(title="calibration error (ECE)", ylim=(0, None), xlabel="dose [e/Å²]")
    axes[-1].grid(alpha=0.3)
    axes[-1].legend(fontsize=7)
    figure.savefig(path, dpi=90)
    plt.close(figure)
