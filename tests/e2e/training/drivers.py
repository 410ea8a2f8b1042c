"""Drivers of training as processes, and what is left of one that is killed."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

COMMAND = Path(sys.executable).parent / "segdepth-train"
RECIPE = Path(__file__).parents[3] / "training" / "recipes" / "smoke.toml"
FAMILY = "ceo2-110-smoke"
KILL_WITHIN_S = 480
AGENTS = ("ray::Dashboard", "ray::RuntimeEnv")


def start(arguments: list[str | Path], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """`segdepth-train run` with these arguments, in the folder of its log."""
    variables = {**os.environ, "COLUMNS": "200", **environment}
    with log.open("wb") as file:
        return subprocess.Popen(
            [COMMAND, "run", *arguments],
            cwd=log.parent,
            stdout=file,
            stderr=file,
            env=variables,
            start_new_session=True,
        )


def finish(process: subprocess.Popen[bytes], log: Path, status: int = 0) -> str:
    """Wait for the end; the log. Whatever the process left is killed."""
    try:
        process.wait(600)
    finally:
        kill(process)
    text = log.read_text(errors="replace")
    assert process.returncode == status, text[-4000:]
    return text


def kill(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """kill -9 of the driver alone; returns what it had started."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    process.wait()
    return family


def end_all(family: list[psutil.Process]) -> None:
    """Nothing that computes may outlive its driver: what does is killed, and an error."""
    # Ray's agents notice only after a minute or so: they are not waited for.
    agents = [one for one in family if name_of(one).startswith(AGENTS)]
    alive = still_alive([one for one in family if one not in agents], 60)
    names = [name_of(one) for one in alive]
    for survivor in [*alive, *agents]:
        with suppress(psutil.NoSuchProcess):
            survivor.kill()
    assert not alive, f"left behind by the killed run: {names}"


def name_of(process: psutil.Process) -> str:
    """Empty if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def still_alive(family: list[psutil.Process], within_s: float) -> list[psutil.Process]:
    """Which have not ended in time; ended ones that nobody has asked after yet are no processes any more."""
    end = time.monotonic() + within_s
    while time.monotonic() < end and family:
        family = [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        time.sleep(0.2)
    return family
