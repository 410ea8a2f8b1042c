"""A first model for a new store: `python -m segdepth_inference.seed`.

Copies the released model that ships with this package into the store of SEGDEPTH_STORE_* and points `stable` at it,
unless `stable` points somewhere already: an operator's choice is never changed. Any number of times, by any number at
once.
"""

import tempfile
from importlib.metadata import version
from pathlib import Path

import structlog

from segdepth_artefacts import ArtefactStore, open_store
from segdepth_artefacts.channels import STABLE
from segdepth_artefacts.errors import ChannelConflict
from segdepth_core.released import released_store

PRINCIPAL = "install"

log = structlog.get_logger(__name__)


def seed(store: ArtefactStore, released: ArtefactStore) -> None:
    """Bring every family's released version into the store. ArtefactError where the store does not take it."""
    for family in released.families():
        shipped = released.channel(family, STABLE)
        if shipped is None:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = released.fetch(family, shipped.version, Path(scratch))
            manifest = released.manifest(family, shipped.version)
            store.register(manifest, {name: folder / name for name in manifest.files})
        now = store.channel(family, STABLE)
        if now is not None:
            log.info("stable stays", family=family, version=now.version)
            continue
        reason = f"released with SegDepth {version('segdepth-inference')}"
        try:
            store.point(family, STABLE, shipped.version, principal=PRINCIPAL, reason=reason, expected=None)
        except ChannelConflict as conflict:
            log.info("stable was pointed meanwhile", family=family, problem=str(conflict))


if __name__ == "__main__":
    seed(open_store(writable=True), open_store(released_store()))
