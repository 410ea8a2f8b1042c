"""A folder as a store, while others write to it."""

import os
import time
from pathlib import Path

from segdepth_artefacts import StoreSettings
from segdepth_artefacts.folder import UPLOADS
from segdepth_artefacts.open_objects import open_objects


def test_an_upload_that_ends_while_uploads_are_looked_at_is_no_fault(tmp_path: Path) -> None:
    """Listed, and gone when it is looked at: here a link to nothing, in life another writer's finished upload."""
    uploads = tmp_path / UPLOADS
    uploads.mkdir()
    (uploads / "gone").symlink_to(uploads / "nothing")
    objects = open_objects(str(tmp_path), StoreSettings())
    etag = objects.write("models/a", b"weights", replaces=None)
    assert objects.etag("models/a") == etag
    assert [entry.key for entry in objects.entries("")] == ["models/a"]


def test_a_link_to_itself_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert open_objects(str(tmp_path), StoreSettings()).entries("") == []


def test_what_a_killed_writer_left_long_ago_is_removed_and_what_is_young_stays(tmp_path: Path) -> None:
    uploads = tmp_path / UPLOADS
    uploads.mkdir()
    for name in ("old", "young"):
        (uploads / name).write_bytes(b"half")
    long_ago = time.time() - 10 * 24 * 3600
    os.utime(uploads / "old", (long_ago, long_ago))
    open_objects(str(tmp_path), StoreSettings()).check_writable()
    assert [path.name for path in uploads.iterdir()] == ["young"]
