"""The process of `segdepth_stack.node`, as its parent sees it."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from segdepth_stack.node import environment
from segdepth_stack.settings import StackSettings

LOG_LINES = 30
"""How much of the log an error shows."""


class StackFailed(RuntimeError):
    """A part of the stack did not start, or ended by itself. The message ends with the last lines of its log."""


class Node:
    """Starts the process, follows it, and leaves nothing of it behind."""

    def __init__(self, settings: StackSettings, folder: Path, progress: Callable[[str], None]):
        self._progress = progress
        self._log = folder / "node.log"
        self._ready = threading.Event()
        self._drain_timeout_s = settings.drain_timeout_s
        read_end, write_end = os.pipe()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "segdepth_stack.node", str(write_end)],
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                pass_fds=[write_end],
                start_new_session=True,  # Ctrl-C is for the parent, which drains before it stops us.
            )
        os.close(write_end)
        self._follower = threading.Thread(target=self._follow, args=[read_end], name="segdepth-node", daemon=True)
        self._follower.start()
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        self._stdin.write(settings.model_dump_json() + "\n" + json.dumps(str(folder / "ray")) + "\n")
        self._stdin.flush()

    def _follow(self, events_fd: int) -> None:
        with os.fdopen(events_fd) as events:
            for line in events:
                event: dict[str, Any] = json.loads(line)
                self._progress(event["event"])
                if event.get("ready"):
                    self._ready.set()

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the deployments are up. StackFailed if the process ends first or the time is over."""
        end = time.monotonic() + timeout_s
        while not self._ready.wait(0.2):
            self.check()
            if time.monotonic() > end:
                raise StackFailed(f"not ready after {timeout_s:g} s{self._tail()}")

    def check(self) -> None:
        """StackFailed if the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise StackFailed(f"the process that runs Ray ended with status {code}{self._tail()}")

    def stop(self) -> None:
        """Drain and stop; what does not end in time is killed, with everything it started."""
        family = descendants(self._process.pid)
        with suppress(BrokenPipeError):  # It may be gone already, but not all that it started.
            self._stdin.close()
        try:
            # Ray itself takes a few seconds after the deployments have drained.
            self._process.wait(self._drain_timeout_s + 15)
        except subprocess.TimeoutExpired:
            self._progress("did not stop in time: killed")
        finally:
            self.kill(family)

    def kill(self, family: list[psutil.Process] | None = None) -> None:
        """End at once what is left of the process and of everything it started."""
        left = [process for process in family or descendants(self._process.pid) if process.is_running()]
        _, left = psutil.wait_procs(left, timeout=2) if self._process.poll() is not None else ([], left)
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=5)
        self._process.kill()
        self._process.wait()
        self._follower.join(timeout=5)

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n" + "\n".join(lines) if lines else ""


def descendants(pid: int) -> list[psutil.Process]:
    """A process and all that it started, as far as they live."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
