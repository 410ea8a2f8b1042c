"""Frames kept until their answers come."""

import numpy as np

from segdepth import Frame
from segdepth.tracks.kept import KeptFrames


def passed(frames, **most):
    keeping = KeptFrames(frames, **most)
    return keeping, list(keeping.frames())


def test_each_is_taken_by_its_number_once():
    images = [np.full((2, 3), number, np.uint16) for number in range(4)]
    keeping, frames = passed([images[0], Frame(images[1], 7), images[2], Frame(images[3], 20)])
    assert [getattr(frame, "sequence", None) for frame in frames] == [None, 7, None, 20]
    np.testing.assert_array_equal(keeping.take(0), images[0])
    assert keeping.take(0) is None
    assert keeping.take(5) is None
    np.testing.assert_array_equal(keeping.take(8), images[2])
    assert keeping.take(7) is None
    np.testing.assert_array_equal(keeping.take(20), images[3])


def test_those_that_answers_pass_over_are_forgotten():
    keeping, _ = passed([np.zeros((2, 3), np.uint8)] * 10)
    keeping.take(8)
    assert list(keeping._kept) == [9]
    assert keeping._bytes == 6


def test_the_oldest_go_where_too_many_wait():
    keeping, _ = passed([np.full((2, 4), number, np.uint8) for number in range(5)], most_bytes=20)
    assert keeping.take(2) is None
    assert keeping.take(3)[0, 0] == 3
    large, _ = passed([np.zeros((9, 9), np.uint8)], most_bytes=20)
    assert large.take(0) is not None


def test_what_is_no_frame_is_none():
    keeping, frames = passed(["no frame", Frame(np.zeros((2, 2), np.uint8), "no number"), np.ones((2, 2), np.uint8)])
    assert len(frames) == 3
    assert keeping.take(0) is None
    np.testing.assert_array_equal(keeping.take(1), np.ones((2, 2)))
