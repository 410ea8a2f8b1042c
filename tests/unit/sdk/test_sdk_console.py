"""What goes to stderr while something is shown at the foot of the terminal."""

import pytest

from segdepth.cli.console import err, live, progress


@pytest.mark.parametrize("shown", [lambda: live(lambda: "7 frames"), progress])
def test_it_goes_through_one_console_meanwhile(shown):
    with shown():
        assert err() is err()
    assert err() is not err()
