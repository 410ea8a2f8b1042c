"""Finding movies, cutting them up, and refusing what is none: no Ray."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from segdepth_artefacts.errors import StoreUnavailable, UnknownVersion
from segdepth_artefacts.folder import FolderStore
from segdepth_artefacts.jobs import JobExists, JobRequest, JobState, UnknownJob, cancelled_before_start, job_folder
from segdepth_artefacts.store import open_store
from segdepth_batch.driver import Attempt, _begun
from segdepth_batch.errors import JobRefused, Superseded
from segdepth_batch.plan import chunk_frames, output_name
from segdepth_batch.planning import inputs, model
from segdepth_batch.scratch import Scratch
from segdepth_batch.settings import BatchSettings
from segdepth_batch.sources import Sources

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def request(*paths: object, **changes: object) -> JobRequest:
    values: dict[str, object] = {"job": "j", "principal": "alice", "created": NOW, "input": [str(p) for p in paths]}
    return JobRequest.model_validate(values | changes)


def looked_at(wanted: JobRequest, **changes: object) -> list[tuple[str, int, int]]:
    settings = BatchSettings.model_validate({"chunk_frames": 4} | changes)
    found = inputs(wanted, settings, Sources(settings, "alice", local=True))
    return [(each.name, each.frames, sum(1 for _ in each.chunks())) for each in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, frames in (("b", 5), ("a", 9), ("sub/a", 1)):
        path = tmp_path / "movies" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.zeros((frames, 8, 8), np.uint16))
    (tmp_path / "movies" / "notes.txt").write_text("not a movie")
    return tmp_path / "movies"


def test_a_folder_is_its_movies_in_order_and_a_name_tells_which(folder: Path) -> None:
    found = looked_at(request(folder, folder / "a.npy", sampling_A=0.1))
    assert found == [("0000-a", 9, 3), ("0001-b", 5, 2), ("0002-a", 1, 1)]


def test_pictures_in_a_folder_are_no_movies_unless_they_are_named(folder: Path) -> None:
    for name in ("a.00000.png", "photo.jpg"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / name)
    assert len(looked_at(request(folder, sampling_A=0.1))) == 3
    assert looked_at(request(folder / "photo.jpg", sampling_A=0.1)) == [("0000-photo", 1, 1)]


def test_what_leads_to_another_movie_of_a_folder_is_not_read_twice(folder: Path) -> None:
    (folder / "a.emi").write_bytes(b"the movie itself is in a_1.ser")
    assert len(looked_at(request(folder, sampling_A=0.1))) == 3


@pytest.mark.parametrize("name, says", [("a.emi", "SER files beside it"), ("a.zarr", "a folder, no file")])
def test_what_is_no_movie_in_one_file_is_refused_by_name(folder: Path, name: str, says: str) -> None:
    (folder / name).mkdir()
    with pytest.raises(JobRefused, match=says):
        looked_at(request(folder / name, sampling_A=0.1))


def test_chunks_cover_every_frame_once(folder: Path) -> None:
    settings = BatchSettings(chunk_frames=4)
    (movie,) = inputs(request(folder / "a.npy", sampling_A=0.1), settings, Sources(settings, "a", local=True))
    assert [(chunk.name, chunk.first, chunk.frames) for chunk in movie.chunks()] == [
        ("0000-a.000000", 0, 4),
        ("0000-a.000001", 4, 4),
        ("0000-a.000002", 8, 1),
    ]


def test_large_frames_make_small_chunks() -> None:
    assert chunk_frames((256, 256), 2, 64, 256_000_000) == 64
    assert chunk_frames((4096, 4096), 4, 64, 256_000_000) == 1
    assert chunk_frames((2048, 2048), 2, 64, 256_000_000) == 8


def test_no_pixel_size_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(JobRefused, match=r"a\.npy.*sampling"):
        looked_at(request(folder))


def test_what_is_no_movie_is_refused(folder: Path, tmp_path: Path) -> None:
    for wrong, why in ((tmp_path / "nothing", "no such file"), (folder / "notes.txt", "unknown format")):
        with pytest.raises(JobRefused, match=why):
            looked_at(request(wrong, sampling_A=0.1))
    (tmp_path / "empty").mkdir()
    with pytest.raises(JobRefused, match="no movie there") as refusal:
        looked_at(request(tmp_path / "empty", sampling_A=0.1))
    # What is named would be taken: a folder, or a picture of results, is not.
    assert ".mrc" in str(refusal.value)
    assert ".zarr" not in str(refusal.value)
    assert ".png" not in str(refusal.value)


def test_an_api_s_caller_never_names_a_path_of_the_machine(folder: Path) -> None:
    settings = BatchSettings()
    with pytest.raises(JobRefused, match="neither s3"):
        inputs(request(folder / "a.npy", sampling_A=0.1), settings, Sources(settings, "alice", local=False))


def test_an_upload_is_its_owner_s_alone(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    settings = BatchSettings(store=str(store))
    FolderStore(store).write("uploads/alice/ab12/a.npy", folder / "a.npy", replaces=None)
    wanted = request("upload:ab12/a.npy", sampling_A=0.1)
    (found,) = inputs(wanted, settings, Sources(settings, "alice", local=False))
    assert (found.source, found.frames) == ("upload:ab12/a.npy", 9)
    with pytest.raises(JobRefused, match="no movie there"):
        inputs(wanted, settings, Sources(settings, "bob", local=False))


def test_a_model_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UnknownVersion):
        model(request("x", family="nobody", version="1"), open_store(tmp_path / "none"), lambda *_: "torch-fp32")
    with pytest.raises(JobRefused, match="stable"):
        model(request("x", family="nobody"), open_store(tmp_path / "none"), lambda *_: "torch-fp32")
    with pytest.raises(JobRefused, match="a job is of one family; name it"):
        model(request("x", family="auto"), open_store(tmp_path / "none"), lambda *_: "torch-fp32")


def test_output_names_are_plain() -> None:
    assert output_name(3, "s3://b/alice/été 1/über film.mrc") == "0003-_ber_film"
    assert output_name(0, "a" * 300 + ".npy") == "0000-" + "a" * 80


def test_scratch_fetches_once_and_keeps_to_its_size(tmp_path: Path) -> None:
    scratch, calls = Scratch(tmp_path / "s", most_bytes=250), []

    def download(name: str) -> str:
        def write(path: Path) -> bool:
            calls.append(name)
            path.write_bytes(name.encode() * 100)
            return True

        with scratch.copy(f"s3://b/{name}.npy", "tag", 100, write) as path:
            return path.read_bytes().decode()[0]

    assert [download(name) for name in "aabaca"] == list("aabaca")
    assert calls == ["a", "b", "c"]  # b went for c: a had been used since
    download("b")
    assert calls == ["a", "b", "c", "b"]
    with (
        pytest.raises(JobRefused, match="changed"),
        scratch.copy("s3://b/x.npy", "t", 7, lambda path: bool(path.write_bytes(b"1"))),
    ):
        pass


def test_a_request_is_stored_once_and_another_with_its_id_is_refused(tmp_path: Path) -> None:
    folder = job_folder(FolderStore(tmp_path), "batch-1")
    first = request("s3://b/a/")
    assert folder.create(first) == (first, True)
    later = first.model_copy(update={"created": datetime(2026, 2, 2, tzinfo=UTC)})
    assert folder.create(later) == (first, False)
    with pytest.raises(JobExists, match="sampling_A"):
        folder.create(first.model_copy(update={"sampling_A": 0.2}))


@pytest.mark.parametrize("job", ["../x", "a/b", "", "A", "-a", "a" * 41, "a b"])
def test_an_id_is_never_a_path(tmp_path: Path, job: str) -> None:
    with pytest.raises(UnknownJob):
        job_folder(FolderStore(tmp_path), job)


def test_an_older_driver_ends_when_a_newer_has_begun(tmp_path: Path) -> None:
    folder = job_folder(FolderStore(tmp_path), "batch-1")
    old = Attempt(folder, folder.change(_begun), 0.0, lambda _: None)
    new = Attempt(folder, folder.change(_begun), 0.0, lambda _: None)
    with pytest.raises(Superseded):
        old._write(chunks_done=1)
    assert old.end("failed", "late").status == "running"
    assert new.end("done", "ok").status == "done"
    assert folder.change(_begun).attempt == 2


def test_cancelled_before_it_began_it_never_begins(tmp_path: Path) -> None:
    folder = job_folder(FolderStore(tmp_path), "batch-1")
    assert not folder.cancelled()
    folder.cancel()
    folder.cancel()
    assert folder.cancelled()
    assert folder.change(cancelled_before_start(NOW)).status == "cancelled"
    assert folder.change(_begun).status == "cancelled"
    running = job_folder(FolderStore(tmp_path), "batch-2")
    running.change(_begun)
    assert running.change(cancelled_before_start(NOW)).status == "running"


def test_a_state_that_never_holds_still_is_given_up(tmp_path: Path) -> None:
    folder = job_folder(FolderStore(tmp_path), "batch-1")

    def racing(state: JobState) -> JobState:
        folder.objects.write(
            "jobs/batch-1/state.json",
            JobState(message=f"{state.message}x").model_dump_json().encode(),
            replaces=folder.objects.etag("jobs/batch-1/state.json"),
        )
        return state.model_copy(update={"chunks_done": 1})

    with pytest.raises(StoreUnavailable, match="at once"):
        folder.change(racing)


def test_settings_name_the_field() -> None:
    with pytest.raises(ValidationError, match="actors_min"):
        BatchSettings(actors_min=3, actors_max=2)
