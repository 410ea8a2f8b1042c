"""The gates of a recipe: what a report misses of them."""

from typing import Any

from segdepth_artefacts.promotion import TOGETHER
from segdepth_training.recipes.recipe import Gates


def failures(report: dict[str, Any], gates: Gates) -> list[str]:
    """What the report misses of the gates, in words; empty when it may be released. NaN reaches no gate."""
    missed = []
    paper = report["families"].get("paper", {})
    for dose, bar in gates.paper_accuracy.items():
        if dose not in paper:
            missed.append(f"accuracy on paper-like surfaces at {dose} e/Å² was not measured")
        elif not paper[dose]["centre_class"]["value"] >= bar:
            missed.append(
                f"accuracy on paper-like surfaces at {dose} e/Å² is {paper[dose]['centre_class']['value']:.3f} < {bar}"
            )
    together = report["families"].get(TOGETHER, {})
    if not together:
        missed.append("calibration error was not measured")
    missed += [
        f"calibration error at {dose} e/Å² is {figures['ece']:.3f} > {gates.ece}"
        for dose, figures in together.items()
        if not figures["ece"] <= gates.ece
    ]
    return missed
