"""Where a channel rolls back to: down through the versions that were stable, never to and fro."""

from datetime import UTC, datetime

import pytest

from segdepth_artefacts.channels import Channel, ChannelChange


def pointed(*versions: str) -> Channel:
    """A channel that was pointed at these versions, one after the other."""
    before = (None, *versions)
    history = [
        ChannelChange(
            id=str(number),
            from_version=before[number],
            to_version=version,
            time=datetime(2026, 1, 1, tzinfo=UTC),
            principal="me",
            reason="",
            forced=False,
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
    ],
)
def test_the_version_before_is_the_one_below(versions: list[str], previous: str | None) -> None:
    assert pointed(*versions).previous == previous


def test_rolling_back_again_and_again_ends_at_the_first_version() -> None:
    versions = ["1", "2", "3", "4"]
    seen = []
    while (back := pointed(*versions).previous) is not None:
        seen.append(back)
        versions.append(back)
        assert len(seen) < 10, "to and fro"
    assert seen == ["3", "2", "1"]
