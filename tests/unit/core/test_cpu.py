"""How many threads a network gets: the machine's cores, or what a container's CPU limit pays for."""

import os
from pathlib import Path

import pytest

from segdepth_core.cpu import usable_cores


@pytest.mark.parametrize(
    "quota, cores",
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("1600000 100000", 8)],
)
def test_a_cpu_limit(quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_without_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5})
    assert usable_cores(tmp_path / "absent") == 3
