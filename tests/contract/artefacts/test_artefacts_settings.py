"""Urls, settings, and errors that cross processes."""

import os
import pickle
from pathlib import Path

import pytest

from segdepth_artefacts import StoreSettings, errors, open_store
from tests.contract.artefacts.places import FAMILY, make_version


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEGDEPTH_STORE_URL", str(tmp_path))
    monkeypatch.setenv("SEGDEPTH_STORE_ENDPOINT", "http://minio.minio:9000")
    monkeypatch.setenv("SEGDEPTH_STORE_ACCESS_KEY", "key")
    monkeypatch.setenv("SEGDEPTH_STORE_SECRET_KEY", "hush")

    settings = StoreSettings()
    assert (settings.endpoint, settings.secure, settings.access_key) == ("minio.minio:9000", False, "key")
    assert "hush" not in repr(settings)
    assert open_store().url == str(tmp_path)


@pytest.mark.parametrize("keys", [{"access_key": "key"}, {"secret_key": "hush"}])
def test_one_key_without_the_other_is_refused(keys: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="go together"):
        StoreSettings.model_validate(keys)


@pytest.mark.parametrize("endpoint", ["ftp://host", "http://host/path", "http://"])
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        StoreSettings(endpoint=endpoint)


@pytest.mark.parametrize(
    "url",
    [
        "gs://bucket",
        "s3://",
        "s3://b",
        "s3://../x",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://key:secret@bucket",
        "file://host/x",
        "http://x",
    ],
)
def test_urls_that_are_no_store_are_refused(url: str) -> None:
    with pytest.raises(errors.InvalidName):
        open_store(url, StoreSettings())


def test_no_url_at_all_names_the_variable() -> None:
    with pytest.raises(errors.InvalidName, match="SEGDEPTH_STORE_URL"):
        open_store(settings=StoreSettings(url=""))


def test_a_folder_has_three_spellings(tmp_path: Path) -> None:
    folder = tmp_path / "a store"
    version = make_version(tmp_path)
    open_store(folder, writable=True).register(version.manifest, version.files)

    spellings: list[str | Path] = [folder, str(folder), f"file://{tmp_path}/a%20store"]
    assert [open_store(spelling).families() for spelling in spellings] == [[FAMILY]] * 3


def test_a_read_only_folder_can_be_read(tmp_path: Path) -> None:
    """Reading makes no file: neither lock nor cache."""
    version = make_version(tmp_path)
    store = open_store(tmp_path / "store")
    store.register(version.manifest, version.files)
    store.point(FAMILY, "stable", "1.0", principal="me", reason="", expected=None)
    before = sorted((tmp_path / "store").rglob("*"))
    for hidden in (".lock", ".uploads"):
        path = tmp_path / "store" / hidden
        path.unlink() if path.is_file() else path.rmdir()

    again = open_store(tmp_path / "store")
    again.fetch(again.default_family(), "1.0", tmp_path / "cache")
    assert again.channel(FAMILY, "stable") is not None
    assert [path for path in before if path.name not in (".lock", ".uploads")] == sorted(
        (tmp_path / "store").rglob("*")
    )


def test_strangers_in_the_folder_are_no_models(tmp_path: Path) -> None:
    version = make_version(tmp_path)
    open_store(tmp_path / "store").register(version.manifest, version.files)
    models = tmp_path / "store" / "models"
    (models / ".DS_Store").write_text("")
    (models / "notes for me").mkdir()
    (models / FAMILY / "lost+found").mkdir()
    (models / FAMILY / "README.md").write_text("")

    assert open_store(tmp_path / "store").families() == [FAMILY]
    assert open_store(tmp_path / "store").versions(FAMILY) == ["1.0"]


def test_what_a_killed_writer_left_is_removed_after_a_day(tmp_path: Path) -> None:
    uploads = tmp_path / ".uploads"
    uploads.mkdir()
    for name, age_s in (("old", 90_000), ("new", 60)):
        (uploads / name).write_text("half")
        then = (uploads / name).stat().st_mtime - age_s
        os.utime(uploads / name, (then, then))

    open_store(tmp_path, writable=True)
    assert [path.name for path in uploads.iterdir()] == ["new"]


def test_errors_survive_pickling() -> None:
    error = errors.UnknownVersion("there is no x", "ask for y")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.way_out) == (type(error), "there is no x; ask for y", "ask for y")
