"""The camera's movies are movies, whole at once or growing; and its faults are those that they say."""

import os
from pathlib import Path

import numpy as np
import pytest

from segdepth.calibration import Frame
from segdepth.camera.faults import EVERY, RESTART_AT, faulty
from segdepth.camera.movie_files import MovieFiles
from segdepth.errors import CannotWrite, InvalidFrame
from segdepth.files import open_movie
from tests.tracked import at_most


def image(number: int, shape=(24, 32)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 900, shape, np.uint16)


def read(path) -> list[np.ndarray]:
    with open_movie(path) as movie:
        assert movie.calibration.sampling_A == pytest.approx(0.12, rel=1e-6)
        assert movie.header.notes == ()
        return [movie.frame(index) for index in range(len(movie))]


@pytest.mark.parametrize("grow", [False, True])
def test_frames_come_back(tmp_path, grow):
    with MovieFiles(tmp_path, 0.12, 4, grow=grow) as files:
        for number in range(10):
            files.add(image(number))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["camera-00000.mrc", "camera-00001.mrc", "camera-00002.mrc"]
    frames = [frame for name in names for frame in read(tmp_path / name)]
    assert len(frames) == 10
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame, image(number))


def test_a_whole_movie_has_no_name_before_it_is_whole(tmp_path):
    files = MovieFiles(tmp_path, 0.12, 3)
    for number in range(5):
        files.add(image(number))
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["camera-00000.mrc"]
    files.close()
    assert len(read(tmp_path / "camera-00001.mrc")) == 2


def test_a_growing_movie_can_be_read_at_any_moment(tmp_path):
    files = MovieFiles(tmp_path, 0.12, 100, grow=True)
    for number in range(5):
        files.add(image(number))
        frames = read(tmp_path / "camera-00000.mrc")
        assert len(frames) == number + 1
        np.testing.assert_array_equal(frames[-1], image(number))
    files.close()


def test_another_shape_begins_a_file_and_another_run_goes_on(tmp_path):
    with MovieFiles(tmp_path, 0.12, 10) as files:
        files.add(image(0))
        files.add(image(1, (16, 16)))
    with MovieFiles(tmp_path, 0.12, 10) as files:
        files.add(image(2))
    assert [read(path)[0].shape for path in sorted(tmp_path.iterdir())] == [(24, 32), (16, 16), (24, 32)]


def test_an_error_leaves_the_whole_movies(tmp_path):
    def fail():
        with MovieFiles(tmp_path, 0.12, 2) as files:
            for number in range(3):
                files.add(image(number))
            raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["camera-00000.mrc"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_under_a_growing_movie_is_named(tmp_path):
    def fill():
        with MovieFiles(tmp_path, 0.12, 10, grow=True) as files, Path("/dev/full").open("wb") as full:
            files.add(image(0))
            os.dup2(full.fileno(), files._file._descriptor)
            files.add(image(1))

    with pytest.raises(CannotWrite, match=r"camera-00000\.mrc"):
        fill()


def test_a_full_disk_leaves_whole_frames_of_a_growing_movie(tmp_path):
    frame_bytes = 24 * 32 * 2

    def fill():
        with MovieFiles(tmp_path, 0.12, 10, grow=True) as files:
            for number in range(3):
                files.add(image(number))

    with at_most(1024 + 2 * frame_bytes + 700), pytest.raises(CannotWrite, match=r"camera-00000\.mrc"):
        fill()
    assert (tmp_path / "camera-00000.mrc").stat().st_size == 1024 + 2 * frame_bytes
    assert len(read(tmp_path / "camera-00000.mrc")) == 2


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="file"):
        MovieFiles(tmp_path / "file" / "movies", 0.12, 2)


def frames(number: int):
    return (Frame(image(index, (8, 8)), index) for index in range(number))


def sequences(fault: str | None, number: int = 2 * EVERY) -> list[int]:
    return [frame.sequence for frame in faulty(frames(number), fault)]


def test_without_a_fault_all_come():
    assert sequences(None) == list(range(2 * EVERY))


def test_repeated():
    assert sequences("repeat") == sorted([*range(2 * EVERY), EVERY - 1, 2 * EVERY - 1])


def test_reordered():
    came = sequences("reorder", 2 * EVERY + 2)
    assert sorted(came) == list(range(2 * EVERY + 2))
    assert (np.diff(came) < 0).sum() == 2


def test_skipped():
    assert sequences("skip") == [index for index in range(2 * EVERY) if (index + 1) % EVERY]


def test_restarted():
    came = list(faulty(frames(RESTART_AT + 10), "restart"))
    assert [frame.sequence for frame in came] == [*range(RESTART_AT), *range(10)]
    assert came[RESTART_AT - 1].image.shape == (8, 8)
    assert came[RESTART_AT].image.shape == (4, 4)


def test_an_unknown_fault_is_named():
    with pytest.raises(InvalidFrame, match="one of repeat, reorder, skip, restart"):
        faulty(frames(1), "melt")
