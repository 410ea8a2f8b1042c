"""What was damaged in the store or in the cache is found, and never handed out."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from segdepth_artefacts import errors
from tests.contract.artefacts.places import FAMILY, Place, Version, make_version


@pytest.fixture
def version(place: Place, tmp_path: Path) -> Version:
    version = make_version(tmp_path)
    place.open().register(version.manifest, version.files)
    return version


def everything_in(folder: Path) -> list[Path]:
    """Files below a fetch folder other than its locks."""
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("damage", ["truncated", "tampered", "emptied", "missing", "longer"])
@pytest.mark.parametrize("name", ["weights.safetensors", "card.md"])
def test_a_damaged_file_is_never_fetched(
    place: Place, version: Version, tmp_path: Path, name: str, damage: str
) -> None:
    good, key = version.files[name].read_bytes(), f"{version.folder}/{name}"
    if damage == "missing":
        place.remove(key)
    else:
        flipped = bytes([good[0] ^ 1]) + good[1:]
        bad = {"truncated": good[:-1], "tampered": flipped, "emptied": b"", "longer": good + b"\0"}[damage]
        place.put(key, bad)

    with pytest.raises(errors.CorruptArtefact, match=f"{name}.*restore it"):
        place.open().fetch(FAMILY, "1.0", tmp_path / "cache")
    assert everything_in(tmp_path / "cache") == []

    place.put(key, good)
    assert (place.open().fetch(FAMILY, "1.0", tmp_path / "cache") / name).read_bytes() == good


@pytest.mark.parametrize("damage", ["not json", "half", "another version"])
def test_a_damaged_manifest_is_an_error_and_hides_no_other_version(
    place: Place, version: Version, tmp_path: Path, damage: str
) -> None:
    good = place.get(f"{version.folder}/manifest.json")
    bad = {"not json": b"\xff", "half": good[: len(good) // 2], "another version": good.replace(b'"1.0"', b'"1.1"')}
    other = make_version(tmp_path, "2.0")
    place.open().register(other.manifest, other.files)
    place.put(f"{version.folder}/manifest.json", bad[damage])
    store = place.open()

    with pytest.raises(errors.CorruptArtefact, match=r"manifest\.json"):
        store.manifest(FAMILY, "1.0")
    with pytest.raises(errors.CorruptArtefact):
        store.fetch(FAMILY, "1.0", tmp_path / "cache")
    with pytest.raises(errors.CorruptArtefact):
        store.point(FAMILY, "stable", "1.0", principal="me", reason="", expected=None)
    assert store.versions(FAMILY) == ["2.0"]
    assert everything_in(tmp_path / "cache") == []


def test_a_damaged_channel_is_an_error(place: Place, version: Version) -> None:
    store = place.open()
    store.point(FAMILY, "stable", "1.0", principal="me", reason="first", expected=None)
    good = place.get(f"channels/{FAMILY}/stable.json")

    for bad in (b"", good[:40], good.replace(b'"version": "1.0"', b'"version": "6.6"')):
        place.put(f"channels/{FAMILY}/stable.json", bad)
        with pytest.raises(errors.CorruptArtefact, match="stable"):
            store.channel(FAMILY, "stable")


def test_a_cached_copy_is_used_without_the_stored_files(place: Place, version: Version, tmp_path: Path) -> None:
    folder = place.open().fetch(FAMILY, "1.0", tmp_path / "cache")
    for name in version.files:
        place.remove(f"{version.folder}/{name}")

    assert place.open().fetch(FAMILY, "1.0", tmp_path / "cache") == folder


@pytest.mark.parametrize("damage", ["tampered", "removed"])
def test_a_damaged_cached_copy_is_replaced(place: Place, version: Version, tmp_path: Path, damage: str) -> None:
    weights = place.open().fetch(FAMILY, "1.0", tmp_path / "cache") / "weights.safetensors"
    if damage == "removed":
        weights.unlink()
    else:
        weights.write_bytes(b"\0" * weights.stat().st_size)

    folder = place.open().fetch(FAMILY, "1.0", tmp_path / "cache")

    assert weights.read_bytes() == version.files["weights.safetensors"].read_bytes()
    assert [path for path in folder.parent.iterdir() if path.is_dir()] == [folder]


def test_many_may_fetch_the_same_version_at_once(place: Place, version: Version, tmp_path: Path) -> None:
    def fetch(_: int) -> list[bytes]:
        folder = place.open().fetch(FAMILY, "1.0", tmp_path / "cache")
        return [(folder / name).read_bytes() for name in version.files]

    with ThreadPoolExecutor(8) as threads:
        fetched = list(threads.map(fetch, range(16)))

    assert fetched == [[path.read_bytes() for path in version.files.values()]] * 16
    assert [path.name for path in (tmp_path / "cache" / FAMILY).iterdir() if path.is_dir()] == ["1.0"]


def test_a_cache_that_cannot_be_written_is_named(place: Place, version: Version, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(errors.CacheUnavailable, match="cache"):
        place.open().fetch(FAMILY, "1.0", tmp_path / "cache")
