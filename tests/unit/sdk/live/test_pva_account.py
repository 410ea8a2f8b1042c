"""The account of a source whose numbers jump, under a stream that drops its oldest frames."""

import random

import pytest

from segdepth.live.account import MOST_LEFT_OUT, FrameAccount
from segdepth.results import Gap, GapReason
from tests.answers import result


@pytest.mark.parametrize("seed", range(10))
def test_every_frame_is_counted_once_however_gaps_are_merged(seed):
    rng, account = random.Random(seed), FrameAccount()
    sent = []
    sequence = 0
    for _ in range(300):
        lost = rng.choice([0, 0, 0, 1, 5])
        if lost:
            account.lose(lost)
            account.leave_out(sequence, sequence + lost - 1)
            sequence += lost
        account.see()
        account.send()
        sent.append(sequence)
        sequence += 1
    at = 0
    while at < sequence:
        last = min(at + rng.choice([0, 3, 40]), sequence - 1)
        if at == last and at in sent:
            account.answer(result(at))
        else:
            here = [number for number in sent if at <= number <= last]
            account.answer(Gap(at, last, GapReason.DROPPED if here else GapReason.NOT_SENT))
        at = last + 1
    told = account.as_dict()
    assert told["under_way"] == 0
    assert told["dropped"].get("dropped", 0) + sum(told["answered"].values()) == told["sent"] == 300


def test_an_outage_of_any_length_costs_no_memory():
    account = FrameAccount()
    total = 3 * MOST_LEFT_OUT
    for number in range(total):
        account.see()
        account.send()
        account.lose()
        account.leave_out(2 * number + 1, 2 * number + 1)
    assert len(account._left_out) == MOST_LEFT_OUT
    account.answer(Gap(0, 2 * total - 1, GapReason.DROPPED))
    assert account.as_dict()["dropped"] == {"lost at the source": total, "dropped": total}
    assert account.under_way == 0
