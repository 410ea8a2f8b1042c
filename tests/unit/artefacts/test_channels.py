"""Where a channel rolls back to: down through the versions that were stable, never to and fro."""

from datetime import UTC, datetime

import pytest

from segdepth_artefacts.channels import Channel, ChannelChange


def pointed(*changes: str) -> Channel:
    """A channel that was pointed at these versions, one after the other; "2!" is by force."""
    versions = [change.rstrip("!") for change in changes]
    before = (None, *versions)
    history = [
        ChannelChange(
            id=str(number),
            from_version=before[number],
            to_version=version,
            time=datetime(2026, 1, 1, tzinfo=UTC),
            principal="me",
            reason="",
            forced=changes[number].endswith("!"),
        )
        for number, version in enumerate(versions)
    ]
    return Channel(family="f", name="stable", version=versions[-1], history=tuple(reversed(history)), etag="e")


@pytest.mark.parametrize(
    "versions, previous",
    [
        (["1"], None),
        (["1", "2"], "1"),
        (["1", "2", "3"], "2"),
        (["1", "2", "3", "2"], "1"),
        (["1", "2", "3", "2", "1"], None),
        (["1", "2", "1"], None),
        (["1", "2", "1", "3"], "1"),
        (["1", "2", "1", "2"], "1"),
        (["1", "2", "3", "2", "4"], "2"),
        (["1", "2", "3", "1"], "3"),
        (["1", "2", "2"], "1"),
        (["1", "2", "3", "2", "2"], "1"),
    ],
)
def test_the_version_before_is_the_one_below(versions: list[str], previous: str | None) -> None:
    assert pointed(*versions).previous == previous


@pytest.mark.parametrize(
    "changes, forced, passed",
    [
        (["1"], False, {"1"}),
        (["1!"], True, set()),
        (["1", "2!"], True, {"1"}),
        (["1!", "2"], False, {"2"}),
        (["1!", "2", "1"], True, {"2"}),  # Going back passes no gate.
        (["1", "2!", "2"], False, {"1", "2"}),
        (["1", "2!", "1", "2"], False, {"1", "2"}),
        (["1", "2", "3!", "2"], False, {"1", "2"}),
    ],
)
def test_what_was_forced_stays_so_until_it_passes(changes: list[str], forced: bool, passed: set[str]) -> None:
    channel = pointed(*changes)
    assert (channel.forced is not None) == forced
    assert channel.passed == passed


def test_rolling_back_again_and_again_ends_at_the_first_version() -> None:
    versions = ["1", "2", "3", "4"]
    seen = []
    while (back := pointed(*versions).previous) is not None:
        seen.append(back)
        versions.append(back)
        assert len(seen) < 10, "to and fro"
    assert seen == ["3", "2", "1"]
