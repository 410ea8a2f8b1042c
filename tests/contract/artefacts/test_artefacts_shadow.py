"""What replicas saw of a candidate: each keeps its own counts, and the sum is read, on every kind of store."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from segdepth_artefacts import ArtefactStore, errors
from segdepth_artefacts.promotion import PromotionGates, examine
from segdepth_artefacts.shadow import Counts, ShadowRecord
from tests.contract.artefacts.places import FAMILY, Place, make_version

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def record(replica: str, frames: int, dose: str = "100-316", **changes: object) -> ShadowRecord:
    values = {
        "family": FAMILY,
        "candidate": "2.0",
        "stable": "1.0",
        "replica": replica,
        "since": NOON,
        "updated": NOON + timedelta(minutes=frames),
        "doses": {dose: Counts(frames=frames, columns=10 * frames)},
    }
    return ShadowRecord.model_validate(values | changes)


def test_the_counts_of_all_replicas_are_added_up(place: Place, store: ArtefactStore) -> None:
    place.open().shadow_log().write(record("one", 3, dropped=2))
    place.open().shadow_log().write(record("two", 5))
    place.open().shadow_log().write(record("three", 7, "31.6-100", since=NOON - timedelta(hours=1)))
    place.open().shadow_log().write(record("one", 100, stable="0.9"))
    found = store.shadow(FAMILY, "2.0", "1.0")
    assert (found.replicas, found.dropped, found.total.frames, found.total.columns) == (3, 2, 15, 150)
    assert list(found.doses) == ["31.6-100", "100-316"]
    assert (found.since, found.updated) == (NOON - timedelta(hours=1), NOON + timedelta(minutes=7))
    assert store.shadow(FAMILY, "2.0", "3.0").total.frames == 0


def test_a_replica_replaces_its_own_counts(place: Place, store: ArtefactStore) -> None:
    log = place.open().shadow_log()
    for frames in range(1, 6):
        log.write(record("one", frames))
    assert store.shadow(FAMILY, "2.0", "1.0").total.frames == 5


def test_a_write_that_arrived_after_all_does_not_stop_the_next(place: Place, store: ArtefactStore) -> None:
    place.open().shadow_log().write(record("one", 1))
    place.open().shadow_log().write(record("one", 2))
    assert store.shadow(FAMILY, "2.0", "1.0").total.frames == 2


def test_replicas_write_at_the_same_time(place: Place, store: ArtefactStore) -> None:
    def write(number: int) -> None:
        log = place.open().shadow_log()
        for frames in range(1, 4):
            log.write(record(f"replica-{number}", frames))

    with ThreadPoolExecutor(4) as replicas:
        list(replicas.map(write, range(4)))
    found = store.shadow(FAMILY, "2.0", "1.0")
    assert (found.replicas, found.total.frames) == (4, 12)


def test_a_record_that_cannot_be_read_is_left_out(place: Place, store: ArtefactStore) -> None:
    place.open().shadow_log().write(record("one", 3))
    place.put(f"shadow/{FAMILY}/2.0/1.0/two.json", b'{"frames": -1}')
    assert store.shadow(FAMILY, "2.0", "1.0").total.frames == 3


def test_everything_is_written_below_shadow(place: Place, tmp_path: Path) -> None:
    place.open().shadow_log().write(record("one", 3))
    assert b'"frames": 3' in place.get(f"shadow/{FAMILY}/2.0/1.0/one.json")
    if not place.url.startswith("s3://"):
        assert [path.name for path in Path(place.url).iterdir()] == ["shadow"]


@pytest.mark.parametrize("replica", ["../one", "", ".one"])
def test_a_replica_has_a_plain_name(place: Place, replica: str) -> None:
    with pytest.raises(errors.InvalidName, match="replica"):
        place.open().shadow_log().write(record(replica, 1))


def test_a_version_is_examined_against_the_present_stable(place: Place, store: ArtefactStore, tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        made = make_version(tmp_path, version)
        store.register(made.manifest, made.files)
    assert not any("stable" in reason for reason in examine(store, FAMILY, "2.0", PromotionGates()))
    store.point(FAMILY, "stable", "1.0", principal="me", reason="", expected=None)
    gates = PromotionGates(min_shadow_frames=10)
    before = examine(store, FAMILY, "2.0", gates)
    assert any("present stable 1.0" in reason for reason in before)
    assert any("compared 0 frames" in reason for reason in before)
    counts = Counts(frames=10, columns=100, confident_columns=100)
    store.shadow_log().write(record("one", 10, doses={"100-316": counts}))
    assert not any("frames" in reason and "compared" in reason for reason in examine(store, FAMILY, "2.0", gates))
    with pytest.raises(errors.UnknownVersion):
        examine(store, FAMILY, "9.0", gates)


def test_a_corrupt_report_is_an_error(place: Place, store: ArtefactStore, tmp_path: Path) -> None:
    made = make_version(tmp_path, "1.0")
    store.register(made.manifest, made.files)
    assert store.report(FAMILY, "1.0") == {"seed": 1}
    place.remove(f"{made.folder}/report.json")
    with pytest.raises(errors.CorruptArtefact, match=r"report\.json"):
        store.report(FAMILY, "1.0")
