"""The family's stable model, as a folder."""

from pathlib import Path

from segdepth_artefacts import ArtefactStore
from segdepth_artefacts.channels import STABLE


def stable_model(store: ArtefactStore, family: str, cache: Path) -> Path:
    """The folder of the family's stable version. ValueError where there is none."""
    channel = store.channel(family, STABLE)
    if channel is None:
        raise ValueError(f"{family} has no stable version in {store.url}; name another store with --store")
    return store.fetch(family, channel.version, cache)
