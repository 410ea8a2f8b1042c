"""A camera's numbers as those of a stream."""

import random

import pytest

from segdepth.live.frame_numbers import MOST_LOST, Arrival, FrameNumbers


def arrivals(numbers, *, times=None, numbering=None):
    numbering = numbering or FrameNumbers()
    times = times or [None] * len(numbers)
    return [numbering.arrival(number, time_s) for number, time_s in zip(numbers, times, strict=True)]


def sequences(numbers, **more):
    return [arrival.sequence for arrival in arrivals(numbers, **more)]


def test_sequences_are_the_cameras_own_numbers():
    assert sequences([41, 42, 43]) == [41, 42, 43]


def test_a_jump_is_so_many_lost():
    assert [arrival.lost for arrival in arrivals([5, 6, 10, 11])] == [0, 0, 3, 0]


def test_a_jump_further_than_any_loss_is_a_restart():
    assert arrivals([5, 6 + MOST_LOST, 8 + 2 * MOST_LOST, 9 + 2 * MOST_LOST])[1:] == [
        Arrival(6 + MOST_LOST, lost=MOST_LOST),
        Arrival(7 + MOST_LOST, restarted=True),
        Arrival(8 + MOST_LOST),
    ]


def test_a_camera_that_counts_up_from_a_negative_number_begins_at_0():
    assert sequences([-5, -4, -1, 0, 1]) == [0, 1, 4, 5, 6]


def test_a_frame_that_comes_twice_is_repeated():
    assert [arrival.dropped for arrival in arrivals([5, 5, 6, 5, 7])] == ["", "repeated", "", "repeated", ""]


def test_a_late_frame_was_not_lost():
    late = arrivals([5, 7, 6, 8])
    assert late[1].lost == 1
    assert late[2] == Arrival(dropped="out of order", found=True)
    assert late[3].sequence == 8


def test_a_late_frame_that_comes_twice_is_repeated():
    assert arrivals([5, 7, 6, 6])[3].dropped == "repeated"


def test_a_restart_after_a_disconnect_goes_on_with_higher_sequences():
    numbering = FrameNumbers()
    arrivals([8, 9], numbering=numbering)
    numbering.interrupted()
    assert arrivals([1, 2, 4], numbering=numbering) == [
        Arrival(10, restarted=True),
        Arrival(11),
        Arrival(13, lost=1),
    ]


def test_the_frame_that_is_shown_to_who_comes_back_is_no_new_one():
    numbering = FrameNumbers()
    arrivals([8, 9], times=[1.0, 2.0], numbering=numbering)
    numbering.interrupted()
    assert arrivals([9, 10], times=[2.0, 3.0], numbering=numbering) == [Arrival(shown_again=True), Arrival(10)]


def test_the_same_number_with_a_later_time_after_a_disconnect_is_a_restart():
    numbering = FrameNumbers()
    arrivals([1], times=[1.0], numbering=numbering)
    numbering.interrupted()
    assert arrivals([1], times=[9.0], numbering=numbering) == [Arrival(2, restarted=True)]


def test_numbers_that_grow_over_a_disconnect_are_lost_frames():
    numbering = FrameNumbers()
    arrivals([8, 9], numbering=numbering)
    numbering.interrupted()
    assert arrivals([15], numbering=numbering) == [Arrival(15, lost=5)]


def test_a_far_lower_number_with_a_later_time_is_a_restart():
    assert arrivals([1000, 0], times=[1.0, 2.0])[1] == Arrival(1001, restarted=True)


@pytest.mark.parametrize("times", [None, [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_a_restart_without_a_disconnect_is_seen_by_its_second_frame(times):
    last = arrivals([9, 10, 0, 1, 2], times=times)
    assert [arrival.dropped for arrival in last] == ["", "", "repeated", "", ""]
    assert last[3:] == [Arrival(11, restarted=True), Arrival(12)]


def test_a_run_of_frames_that_come_twice_is_no_restart():
    times = [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0]
    assert sequences([5, 6, 7, 5, 6, 7, 8], times=times) == [5, 6, 7, None, None, None, 8]


def test_a_camera_that_does_not_count_is_counted_by_its_clock():
    assert sequences([0, 0, 0, 0], times=[1.0, 2.0, 2.0, 3.0]) == [0, 1, None, 2]


@pytest.mark.parametrize("seed", range(20))
def test_sequences_increase_whatever_comes(seed):
    rng = random.Random(seed)
    numbering, seen = FrameNumbers(), []
    for _ in range(300):
        if rng.random() < 0.05:
            numbering.interrupted()
        number = rng.choice([rng.randrange(10), rng.randrange(500), rng.randrange(-(2**31), 2**31)])
        arrival = numbering.arrival(number, rng.choice([None, rng.random()]))
        assert (arrival.sequence is None) == (bool(arrival.dropped) or arrival.shown_again)
        if arrival.sequence is not None:
            seen.append(arrival.sequence)
    assert seen == sorted(set(seen))
    assert seen[0] >= 0
    assert len(seen) > 10
