"""How frames were taken, as a person reads it."""

from segdepth.cli.tally import Tally
from tests.answers import result


def test_the_command_says_how_a_movies_frames_were_taken():
    tally = Tally()
    for number in range(4):
        tally.add(result(number, refused=number == 3))
    said = "taken with contrast 0.50 ± 0.10, vibration 0.30 ± 0.04 Å, defocus 46 ± 6 Å (as 3 frames tell)"
    assert tally.conditions.line() == said


def test_of_frames_that_tell_nothing_nothing_is_said():
    tally = Tally()
    tally.add(result(refused=True))
    assert tally.conditions.line() is None
    assert result(refused=True).conditions is None
