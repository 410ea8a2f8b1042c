"""The account of a stream: every number exactly once, in order, whatever the connection does."""

import random

import pytest

from segdepth.errors import InvalidFrame
from segdepth.results import FrameResult, Gap, GapReason
from segdepth.streaming.entries import Closed, Entry
from segdepth.streaming.window import Window
from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2 as pb


def frame(sequence, size=10):
    return Entry(sequence, sequence, b"head", bytes(size))


def result(sequence):
    answer = pb.Answer()
    answer.result.sequence = sequence
    return answer


def gap(first, last, reason=pb.GAP_REASON_NOT_SENT):
    return pb.Answer(gap=pb.Gap(first=first, last=last, reason=reason))


def spans(answers):
    """Answers as (first, last, reason or None)."""
    return [
        (answer.first, answer.last, answer.reason)
        if isinstance(answer, Gap)
        else (answer.sequence, answer.sequence, None)
        for answer in answers
    ]


def numbers(answers):
    return [n for first, last, _ in spans(answers) for n in range(first, last + 1)]


def filled(*sequences, **options):
    window = Window(**options)
    for sequence in sequences:
        assert window.offer(frame(sequence))
    return window


class TestTaking:
    def test_a_pack_is_what_waits(self):
        window = filled(0, 1, 2)
        assert [entry.first for entry in window.take()] == [0, 1, 2]
        assert window.take() == []

    def test_credit_in_frames_bounds_what_is_under_way(self):
        window = filled(0, 1, 2)
        window.grant(2, 1000)
        assert len(window.take()) == 2
        assert window.take() == []
        window.settle([result(0)])
        assert [entry.first for entry in window.take()] == [2]

    def test_credit_in_bytes_bounds_what_is_under_way(self):
        window = filled(0, 1, 2)
        window.grant(10, 25)
        assert len(window.take()) == 2

    def test_a_frame_larger_than_all_credit_goes_alone(self):
        window = Window()
        window.offer(frame(0, 100))
        window.offer(frame(1, 100))
        window.grant(10, 25)
        assert len(window.take()) == 1
        assert window.take() == []

    def test_no_credit_no_frames(self):
        window = filled(0)
        window.grant(0, 0)
        assert window.take() == []

    def test_a_pack_is_no_larger_than_the_contract_says(self):
        half = contract.PACK_BYTES // 2
        window = Window("drop_oldest")
        for sequence in range(3):
            window.offer(frame(sequence, half))
        assert len(window.take()) == 2
        assert len(window.take()) == 1

    def test_a_larger_frame_goes_alone(self):
        window = Window("drop_oldest")
        window.offer(frame(0, contract.PACK_BYTES + 1))
        window.offer(frame(1))
        assert [entry.first for entry in window.take()] == [0]


class TestOffering:
    def test_block_has_no_room_when_full(self):
        window = filled(0, 1, waiting_frames=2)
        assert not window.offer(frame(2))
        window.take()
        assert window.offer(frame(2))

    def test_room_is_announced(self):
        window = filled(0, waiting_frames=1)
        announced = []
        window.on_room = lambda: announced.append(True)
        window.take()
        assert announced

    @pytest.mark.parametrize("sequence", [5, 4, 0])
    def test_a_number_twice_or_backwards_is_refused(self, sequence):
        window = filled(5)
        with pytest.raises(InvalidFrame, match=r"frame.sequence"):
            window.offer(frame(sequence))

    def test_a_closed_stream_takes_nothing(self):
        window = Window()
        window.close()
        with pytest.raises(Closed):
            window.offer(frame(0))

    def test_drop_oldest_keeps_the_newest(self):
        window = Window("drop_oldest", waiting_frames=3)
        for sequence in range(10):
            assert window.offer(frame(sequence))
        assert [entry.first for entry in window.take()] == [7, 8, 9]
        assert spans(window.settle([result(7)])) == [(0, 6, GapReason.DROPPED), (7, 7, None)]

    def test_an_outage_of_any_length_takes_a_bounded_queue(self):
        window = Window("drop_oldest", waiting_frames=4)
        for sequence in range(0, 3000, 2):
            entry = frame(sequence) if sequence % 4 else Entry.missing(sequence, sequence, GapReason.INVALID, "x")
            window.offer(entry)
            assert len(window._waiting) <= 5


class TestSettling:
    def test_results_in_order(self):
        window = filled(0, 1)
        window.take()
        assert numbers(window.settle([result(0), result(1)])) == [0, 1]

    def test_duplicates_are_dropped(self):
        window = filled(0, 1)
        window.take()
        window.settle([result(0)])
        assert numbers(window.settle([result(0), result(1), result(1)])) == [1]

    def test_what_was_never_sent_is_dropped(self):
        window = filled(5)
        window.take()
        assert window.settle([gap(0, 4), result(9)][:1]) == []
        assert numbers(window.settle([result(5)])) == [5]

    def test_numbers_skipped_by_the_caller_are_a_gap(self):
        window = filled(3, 7)
        window.take()
        assert spans(window.settle([result(3), gap(4, 6), result(7)])) == [
            (3, 3, None),
            (4, 6, GapReason.NOT_SENT),
            (7, 7, None),
        ]

    def test_the_servers_reason_for_frames_that_were_sent(self):
        window = filled(0, 1, 2)
        window.take()
        answers = window.settle([result(0), gap(1, 2, pb.GAP_REASON_DEADLINE)])
        assert spans(answers) == [(0, 0, None), (1, 2, GapReason.DEADLINE)]

    def test_this_sides_reason_for_frames_that_were_not(self):
        window = filled(0)
        window.offer(Entry.missing(1, 1, GapReason.INVALID, "no picture"))
        window.offer(frame(2))
        window.take()
        answers = window.settle([result(0), gap(1, 1), result(2)])
        assert answers[1] == Gap(1, 1, GapReason.INVALID, "no picture")
        assert numbers(answers) == [0, 1, 2]

    def test_a_frame_that_the_server_passes_over_has_failed(self):
        window = filled(0, 1, 2)
        window.take()
        assert spans(window.settle([result(2)])) == [(0, 1, GapReason.FAILED), (2, 2, None)]

    def test_a_gap_at_the_end_needs_no_answer(self):
        window = filled(0)
        window.offer(Entry.missing(1, 1, GapReason.INVALID))
        window.take()
        window.end()
        assert numbers(window.settle([result(0)])) == [0, 1]
        assert window.complete


class TestRewinding:
    def test_what_is_not_answered_is_taken_again(self):
        window = filled(0, 1, 2)
        window.take()
        window.settle([result(0)])
        window.rewind()
        assert window.settled == 0
        assert [entry.first for entry in window.take()] == [1, 2]

    def test_what_the_server_answered_and_nobody_received_is_lost(self):
        window = filled(0, 1, 2)
        window.take()
        window.rewind(resume_after=1)
        assert [entry.first for entry in window.take()] == [2]
        assert spans(window.settle([result(2)])) == [(0, 1, GapReason.LOST), (2, 2, None)]

    def test_smaller_credit_after_a_resume(self):
        window = filled(0, 1, 2)
        window.take()
        window.rewind()
        window.grant(1, 1000)
        assert [entry.first for entry in window.take()] == [0]
        assert window.take() == []


@pytest.mark.parametrize("policy", ["block", "drop_oldest"])
@pytest.mark.parametrize("seed", range(40))
def test_every_number_exactly_once_whatever_happens(policy, seed):
    rng = random.Random(seed)
    window = Window(policy, waiting_frames=rng.randint(1, 8))
    window.grant(rng.randint(1, 6), rng.randint(10, 100))
    received, under_way, sequence, ended = [], [], 0, False
    while not window.complete:
        action = rng.random()
        if action < 0.4 and not ended:
            missing = rng.random() < 0.1
            entry = Entry.missing(sequence, sequence, GapReason.INVALID) if missing else frame(sequence)
            if window.offer(entry):
                sequence += rng.choice([1, 1, 1, 4])
            ended = sequence > 60
            if ended:
                window.end()
        elif action < 0.6:
            under_way += [entry.first for entry in window.take()]
        elif action < 0.9 and under_way:
            last = rng.randrange(len(under_way)) + 1
            reason = rng.random() < 0.2
            answers = [gap(n, n, pb.GAP_REASON_FAILED) if reason else result(n) for n in under_way[:last]]
            if rng.random() < 0.3:
                answers += answers[-2:]
            received += window.settle(answers)
            del under_way[:last]
        elif action < 0.93:
            window.rewind()
            under_way = []
            window.grant(rng.randint(1, 6), rng.randint(10, 100))
        else:
            received += window.settle([])
    assert numbers(received) == list(range(window.settled + 1))
    assert all(isinstance(answer, FrameResult | Gap) for answer in received)


def test_gaps_make_room_too():
    window = Window(waiting_frames=1)
    window.offer(Entry.missing(0, 0, GapReason.INVALID, "no picture"))
    assert not window.offer(frame(1))
    announced = []
    window.on_room = lambda: announced.append(True)
    assert window.take() == []
    assert announced
    assert window.offer(frame(1))
