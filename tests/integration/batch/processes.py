"""Jobs as processes: started, watched, killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.s3 import ACCESS_KEY, SECRET_KEY, S3Server

PATIENCE_S = 300


def environment(models: Path, scratch: Path, s3: S3Server | None = None, **settings: object) -> dict[str, str]:
    """For a process of segdepth_batch: chunks of two frames, no waiting for others' priorities."""
    values: dict[str, object] = {"models": models, "scratch": scratch, "chunk_frames": 2, "nice": 0, "progress_s": 0.1}
    variables = {f"SEGDEPTH_BATCH_{name.upper()}": str(value) for name, value in {**values, **settings}.items()}
    if s3 is not None:
        keys = {"ACCESS_KEY": ACCESS_KEY, "SECRET_KEY": SECRET_KEY, "ENDPOINT": f"http://{s3.endpoint}"}
        variables |= {f"SEGDEPTH_STORE_{name}": value for name, value in keys.items()}
    return os.environ | variables | {"COLUMNS": "200"}


@contextmanager
def batch(arguments: list[object], env: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """python -m segdepth_batch ..., its words in `log`; whatever is left of it at the block's end is ended."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "segdepth_batch", *map(str, arguments)], env=env, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], object], what: str, log: Path | None = None) -> None:
    """Wait for something that another process brings about."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE_S} s\n{log.read_text()[-3000:] if log else ''}"
        time.sleep(0.05)


def workers(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Ray's processes that hold an actor of the job."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "Worker" in child.cmdline()[0] and child.cmdline()[0].startswith("ray::"):
                found.append(child)
        except (psutil.Error, IndexError):
            continue
    return found
