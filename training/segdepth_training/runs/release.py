"""Release: gates, report and model card, then an immutable version in the store with its channel pointed at it."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from segdepth_artefacts import ArtefactStore
from segdepth_artefacts.channels import CANDIDATE, STABLE
from segdepth_artefacts.manifest import Manifest
from segdepth_artefacts.names import REPORT
from segdepth_artefacts.promotion import PromotionGates, examine
from segdepth_training.fitting import model
from segdepth_training.judging.figures import named
from segdepth_training.judging.plots import plot_report
from segdepth_training.judging.release_gates import failures
from segdepth_training.recipes.recipe import Gates

CARD = "card.md"
PLOT = "report.png"
ADDED = (REPORT, CARD, PLOT)
"""What release adds to the files that make the model."""

TEMPLATE = Path(__file__).parent / "card.md.jinja"


class GateRefused(RuntimeError):
    """The model does not reach what its recipe asks for; the message has each figure and its bar."""


def write_card(folder: Path, manifest: Manifest, report: dict[str, Any]) -> Path:
    """The model card, from the manifest and the report."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    text = environment.from_string(TEMPLATE.read_text()).render(
        manifest=manifest, report=report, species=named(manifest.species)
    )
    (folder / CARD).write_text(text)
    return folder / CARD


def finish(folder: Path, report: dict[str, Any]) -> Manifest:
    """Write card and picture, and name every file in the manifest; what is finished already stays as it is."""
    manifest = model.read(folder)
    names = tuple(dict.fromkeys((*manifest.files, *ADDED)))
    there = {name: model.described(folder / name) for name in names if (folder / name).exists()}
    if there.keys() == set(names) and manifest.files == there:
        return manifest
    write_card(folder, manifest, report)
    plot_report(report, folder / PLOT)
    manifest = manifest.model_copy(update={"files": {name: model.described(folder / name) for name in names}})
    model.write(folder, manifest)
    return manifest


def release(
    folder: Path, store: ArtefactStore, gates: Gates, report: dict[str, Any], *, principal: str, channel: str = "stable"
) -> Manifest:
    """Register the model in `folder` and point the channel at it.

    Raises GateRefused where a gate is missed. Releasing the same model again changes nothing.
    """
    missed = failures(report, gates)
    if missed:
        raise GateRefused("not released:\n- " + "\n- ".join(missed))
    manifest = finish(folder, report)
    store.register(manifest, {name: folder / name for name in manifest.files})
    now = store.channel(manifest.family, channel)
    if now is None or now.version != manifest.version:
        store.point(manifest.family, channel, manifest.version, principal=principal, reason="released", expected=now)
    return manifest


def offer(folder: Path, store: ArtefactStore, report: dict[str, Any], *, run_id: str, principal: str) -> Manifest:
    """Register the model in `folder` and point the channel `candidate` at it, whatever it misses: its report says so.

    Once it was candidate the channel is left alone: a later run's candidate is not replaced by an earlier one's.
    """
    manifest = finish(folder, report)
    store.register(manifest, {name: folder / name for name in manifest.files})
    now = store.channel(manifest.family, CANDIDATE)
    if not any(change.to_version == manifest.version for change in (now.history if now else ())):
        reason = f"trained by run {run_id}"
        store.point(manifest.family, CANDIDATE, manifest.version, principal=principal, reason=reason, expected=now)
    return manifest


def promote(
    store: ArtefactStore, family: str, version: str, gates: PromotionGates, *, run_id: str, principal: str
) -> list[str]:
    """Point `stable` at a candidate, unless it is there or was; returns why the gates refuse it, empty if not."""
    now = store.channel(family, STABLE)
    if any(change.to_version == version for change in (now.history if now else ())):
        return []
    refused = examine(store, family, version, gates)
    if not refused:
        reason = f"promoted automatically by run {run_id}: every gate was reached"
        store.point(family, STABLE, version, principal=principal, reason=reason, expected=now)
    return refused
