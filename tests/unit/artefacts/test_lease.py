"""A lease whose store falls silent is lost when its time is over, and its holder is told."""

from pathlib import Path
from threading import Event

import pytest

from segdepth_artefacts.errors import LeaseLost, StoreUnavailable
from segdepth_artefacts.folder import FolderStore
from segdepth_artefacts.lease import Lease


class Silent(FolderStore):
    """A folder whose writes fail from a moment on, as on a network that is cut."""

    cut = False

    def write(self, key: str, source: bytes | Path, *, replaces: str | None) -> str:
        if self.cut:
            raise StoreUnavailable(f"{key}: no answer", "wait")
        return super().write(key, source, replaces=replaces)


def test_a_lease_that_cannot_be_renewed_is_lost_when_its_time_is_over(tmp_path: Path) -> None:
    objects, called = Silent(tmp_path), Event()
    with Lease(objects, "training", "ann", ttl_s=0.4, on_lost=called.set) as held:
        objects.cut = True
        assert called.wait(20)
        assert held.lost
        with pytest.raises(LeaseLost, match="too slow to renew it"):
            held.confirm()


def test_a_store_that_answers_again_in_time_loses_nothing(tmp_path: Path) -> None:
    objects, called = Silent(tmp_path), Event()
    with Lease(objects, "training", "ann", ttl_s=60, on_lost=called.set) as held:
        objects.cut = True
        with pytest.raises(StoreUnavailable):
            held.confirm()
        objects.cut = False
        held.confirm()
        assert not held.lost
    assert not called.is_set()
