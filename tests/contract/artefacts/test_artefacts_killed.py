"""An upload that dies at any point leaves nothing visible, and can be done again."""

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from segdepth_artefacts import StoreSettings, errors
from tests.contract.artefacts import workers
from tests.contract.artefacts.endpoints import line_to
from tests.contract.artefacts.places import FAMILY, Bucket, Place, Version, make_version

SPAWN = get_context("spawn")

WEIGHTS_BYTES = 8_000_000


def killed(process: BaseProcess, by: signal.Signals = signal.SIGKILL) -> bool:
    process.join(60)
    return process.exitcode == -by


def assert_nothing_visible(place: Place, cache: Path) -> None:
    store = place.open()
    assert store.families() == []
    assert store.versions(FAMILY) == []
    with pytest.raises(errors.UnknownVersion):
        store.manifest(FAMILY, "1.0")
    with pytest.raises(errors.UnknownVersion):
        store.fetch(FAMILY, "1.0", cache)
    with pytest.raises(errors.UnknownVersion):
        store.point(FAMILY, "stable", "1.0", principal="me", reason="", expected=None)


def assert_whole(place: Place, version: Version, cache: Path) -> None:
    store = place.open()
    assert store.versions(FAMILY) == ["1.0"]
    folder = store.fetch(FAMILY, "1.0", cache)
    for name, path in version.files.items():
        assert (folder / name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_killed_before_a_write(place: Place, tmp_path: Path, writes: int) -> None:
    """With three files the fourth write is the manifest."""
    version = make_version(tmp_path)
    process = SPAWN.Process(target=workers.register_and_die, args=(place, version, writes))
    process.start()
    assert killed(process)
    assert_nothing_visible(place, tmp_path / "cache")

    place.open().register(version.manifest, version.files)
    assert_whole(place, version, tmp_path / "cache")


def test_other_content_after_a_kill_is_not_mixed_with_what_was_left(place: Place, tmp_path: Path) -> None:
    first, second = make_version(tmp_path, seed=1), make_version(tmp_path, seed=2)
    process = SPAWN.Process(target=workers.register_and_die, args=(place, first, 3))
    process.start()
    assert killed(process)

    place.open().register(second.manifest, second.files)
    assert_whole(place, second, tmp_path / "cache")
    with pytest.raises(errors.VersionExists):
        place.open().register(first.manifest, first.files)
    assert_whole(place, second, tmp_path / "cache2")


def test_killed_within_a_file(place: Place, tmp_path: Path) -> None:
    version = make_version(tmp_path, weights_bytes=WEIGHTS_BYTES)
    if isinstance(place, Bucket):
        process = kill_on_the_way(place, version)
    else:
        process = SPAWN.Process(target=workers.register_and_die_in_a_file, args=(place, version, 1_000_000))
        process.start()
        assert killed(process, signal.SIGXFSZ)
    assert process.exitcode
    assert_nothing_visible(place, tmp_path / "cache")

    place.open().register(version.manifest, version.files)
    assert_whole(place, version, tmp_path / "cache")


def kill_on_the_way(place: Bucket, version: Version) -> BaseProcess:
    """Registers through a line to the server, and kills the process when it has sent 1 MB of the weights."""

    def kill(sent_bytes: int) -> None:
        if sent_bytes > 1_000_000 and process.pid and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)

    with line_to(place.server.endpoint, on_sent=kill) as endpoint:
        through = Place(place.url, place.server.settings(endpoint=endpoint))
        process = SPAWN.Process(target=workers.register, args=(through, version))
        process.start()
        assert killed(process)
    return process


def test_a_full_disk_is_named_and_nothing_is_visible(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "store"), StoreSettings())
    version = make_version(tmp_path, weights_bytes=WEIGHTS_BYTES)
    with ProcessPoolExecutor(1, SPAWN) as processes:
        message = processes.submit(workers.register_without_room, place, version, 1_000_000).result(60)

    assert str(tmp_path / "store") in message
    assert "room" in message
    assert list((tmp_path / "store" / ".uploads").iterdir()) == []
    assert_nothing_visible(place, tmp_path / "cache")
