"""Release: gates, report and model card, then an immutable version in the store with its channel pointed at it."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from segdepth_artefacts import ArtefactStore
from segdepth_artefacts.manifest import Manifest
from segdepth_inference.weights import WEIGHTS
from segdepth_training import model
from segdepth_training.evaluate import ALL, REPORT
from segdepth_training.plots import plot_report
from segdepth_training.recipe import Gates

CARD = "card.md"
PLOT = "report.png"
TEMPLATE = Path(__file__).parent / "card.md.jinja"


class GateRefused(RuntimeError):
    """The model does not reach what its recipe asks for; the message has each figure and its bar."""


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
    together = report["families"].get(ALL, {})
    if not together:
        missed.append("calibration error was not measured")
    missed += [
        f"calibration error at {dose} e/Å² is {figures['ece']:.3f} > {gates.ece}"
        for dose, figures in together.items()
        if not figures["ece"] <= gates.ece
    ]
    return missed


def write_card(folder: Path, manifest: Manifest, report: dict[str, Any]) -> Path:
    """The model card, from the manifest and the report."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    text = environment.from_string(TEMPLATE.read_text()).render(manifest=manifest, report=report)
    (folder / CARD).write_text(text)
    return folder / CARD


def release(
    folder: Path, store: ArtefactStore, gates: Gates, report: dict[str, Any], *, principal: str, channel: str = "stable"
) -> Manifest:
    """Register the model in `folder` and point the channel at it.

    Raises GateRefused where a gate is missed. Releasing the same model again changes nothing.
    """
    missed = failures(report, gates)
    if missed:
        raise GateRefused("not released:\n- " + "\n- ".join(missed))
    manifest = model.read(folder)
    write_card(folder, manifest, report)
    plot_report(report, folder / PLOT)
    names = (WEIGHTS, REPORT, CARD, PLOT)
    files = {name: model.described(folder / name) for name in names}
    manifest = manifest.model_copy(update={"files": files})
    model.write(folder, manifest)
    store.register(manifest, {name: folder / name for name in names})
    now = store.channel(manifest.family, channel)
    if now is None or now.version != manifest.version:
        store.point(manifest.family, channel, manifest.version, principal=principal, reason="released", expected=now)
    return manifest
