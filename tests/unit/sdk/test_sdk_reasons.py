"""Why frames were refused, in a few lines: by check and verdict, with the range of what was measured."""

from segdepth.cli.reasons import Reasons
from segdepth.results import FrameResult, Gap, GapReason
from segdepth_protos.v1 import frame_pb2

REFUSED, SUSPECT, OK = frame_pb2.DOMAIN_STATUS_REFUSED, frame_pb2.DOMAIN_STATUS_SUSPECT, frame_pb2.DOMAIN_STATUS_OK
LEVELS = ((0.45, 0.35, REFUSED), (0.5, 0.31, REFUSED), (0.2, 0.31, SUSPECT), (0.33, 0.35, SUSPECT))
"""Of the black level: value, range permitted, verdict."""

LATTICE = {"name": "lattice", "lower": 0.96, "upper": 1.04, "ok_lower": 0.985, "ok_upper": 1.015}


def answer(*checks, status=REFUSED):
    message = frame_pb2.FrameResult()
    message.domain.status = status
    for check in checks:
        message.domain.checks.add(**{"status": status, **check})
    return FrameResult(message)


def lines(*answers, total=None):
    reasons = Reasons()
    for one in answers:
        if isinstance(one, Gap):
            reasons.add_gap(one)
        else:
            reasons.add(one)
    return list(reasons.lines(total or len(answers)))


def test_frames_of_one_reason_are_one_line_with_the_range_measured():
    found = lines(
        *(answer({"name": "snr", "value": value, "lower": 10.0, "unit": "e/Å²"}) for value in (4.31, 6.15, 5.0)),
        total=60,
    )
    assert found == ["3 of 60 refused: dose 4.31-6.15 e/Å² (permitted from 10 e/Å²)"]


def test_a_ratio_of_pixel_sizes_is_said_as_what_is_off():
    found = lines(*(answer({**LATTICE, "value": value}, status=SUSPECT) for value in (1.025, 1.027)), total=60)
    said = "2 of 60 suspect: pixel size 2.5-2.7 % too small by the crystal's own lattice (permitted up to 1.5 %)"
    assert found == [f"{said}; --sampling auto-lattice corrects it"]
    (far,) = lines(answer({**LATTICE, "value": 0.93, "message": "lattice: gold, or 7 % off"}))
    assert far == (
        "1 of 1 refused: pixel size 7 % too large by the crystal's own lattice (permitted up to 4 %),"
        " the first: gold, or 7 % off"
    )


def test_too_large_too_small_and_no_lattice_are_three_reasons():
    no_lattice = {**LATTICE, "value": 0.0, "message": "lattice: none of the reflections stand out"}
    found = lines(*(answer({**LATTICE, "value": value}, status=SUSPECT) for value in (0.98, 1.02)), answer(no_lattice))
    assert found[0] == "1 of 3 refused: lattice, the first: none of the reflections stand out"
    assert ["too large" in found[1], "too small" in found[2]] == [True, True]


def test_only_the_checks_that_decided_are_told():
    checks = (
        {"name": "snr", "value": 12.0, "status": SUSPECT},
        {"name": "field", "value": 12.8, "lower": 20.0, "unit": "Å"},
    )
    assert lines(answer(*checks)) == ["1 of 1 refused: shorter side of the field 12.8 Å (permitted from 20 Å)"]
    assert lines(answer({"name": "snr", "value": 99.0}, status=OK)) == []


def test_shares_are_per_cent():
    (line,) = lines(answer({"name": "saturation", "value": 0.0314, "upper": 0.02}))
    assert line == "1 of 1 refused: 3.14 % of the pixels saturated (permitted up to 2 %)"


def test_a_check_of_a_newer_service_keeps_its_message():
    found = lines(
        *(answer({"name": "ringing", "value": v, "upper": 0.5, "message": f"ringing: {v} is"}) for v in (0.6, 0.7))
    )
    assert found == ["2 of 2 refused: ringing 0.6-0.7 (permitted up to 0.5), the first: 0.6 is"]


def test_what_could_not_be_measured_is_its_message():
    (line,) = lines(answer({"name": "snr", "value": float("nan"), "message": "snr: nothing to measure"}))
    assert line == "1 of 1 refused: snr, the first: nothing to measure"


def test_a_choice_between_families_is_said_in_words():
    family = {"name": "family", "value": 2.0, "lower": 1.0, "upper": 1.0}
    (line,) = lines(answer({**family, "message": "family: this lattice is that of a and b; name the family"}))
    assert line == "1 of 1 refused: family, the first: this lattice is that of a and b; name the family"


def test_ranges_that_differ_are_one_reason_and_hold_for_all():
    black = {"name": "black", "unit": "of the mean"}
    found = lines(*(answer({**black, "value": v, "lower": -w, "upper": w}, status=s) for v, w, s in LEVELS))
    why = "a dark image not subtracted, or a contrast stretch"
    assert found == [
        f"2 of 4 refused: no electrons at 0.45-0.5 of the mean: {why} (permitted -0.31 to 0.31 of the mean)",
        f"2 of 4 suspect: no electrons at 0.2-0.33 of the mean: {why} (permitted -0.31 to 0.31 of the mean)",
    ]


def test_a_check_that_never_refuses_says_what_it_saw():
    (line,) = lines(answer({"name": "noise", "value": 9e6, "message": "noise: smoothed"}, status=SUSPECT))
    assert line == "1 of 1 suspect: noise, the first: smoothed"


def test_many_reasons_are_cut_and_gaps_are_said():
    many = [answer({"name": f"check{number}", "value": 1.0}) for number in range(9)]
    found = lines(*many, Gap(9, 12, GapReason.FAILED, "gave up"), total=13)
    assert found[6] == "and 3 other reasons; summary.json has those of each frame"
    assert found[7] == "4 of 13 failed, the first: gave up"
