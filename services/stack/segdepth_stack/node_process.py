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

from segdepth_stack.environment import environment
from segdepth_stack.settings import StackSettings

LOG_LINES = 30
"""How much of the log an error shows."""

RAY_STOP_S = 15
"""Time that Ray's own processes have to end."""


class StackFailed(RuntimeError):
    """A part of the stack did not start, or ended by itself. The message ends with the last lines of its log."""


class NodeProcess:
    """Starts the process, follows it, and leaves nothing of it behind."""

    def __init__(self, settings: StackSettings, folder: Path, progress: Callable[[str], None]):
        self._progress = progress
        self._log = folder / "node.log"
        self._ready = threading.Event()
        self._why = ""
        self._family: set[psutil.Process] = set()
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
                self._why = event.get("why", "")

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the deployments are up. StackFailed if the process ends first or the time is over."""
        end = time.monotonic() + timeout_s
        while not self._ready.wait(0.2):
            self.check()
            if time.monotonic() > end:
                raise StackFailed(f"not ready after {timeout_s:g} s{self._tail()}")

    def check(self) -> None:
        """StackFailed if the process has ended."""
        self._remember()
        code = self._process.poll()
        if code is not None:
            self._follower.join(timeout=RAY_STOP_S)
            if self._why:
                raise StackFailed(self._why)
            raise StackFailed(f"the process that runs Ray ended with status {code}{self._tail()}")

    def stop(self) -> None:
        """Drain and stop; what does not end in time is killed, with everything it started."""
        self._remember()
        with suppress(BrokenPipeError):  # It may be gone already, but not all that it started.
            self._stdin.close()
        try:
            # Ray itself takes a few seconds after the deployments have drained.
            self._process.wait(self._drain_timeout_s + RAY_STOP_S)
        except subprocess.TimeoutExpired:
            self._progress("did not stop in time: killed")
        finally:
            self.kill()

    def kill(self) -> None:
        """End at once what is left of the process and of everything it started."""
        self._remember()
        for process in self._family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.kill()
        self._process.wait()
        psutil.wait_procs(self._family, timeout=RAY_STOP_S)
        self._follower.join(timeout=RAY_STOP_S)

    def _remember(self) -> None:
        # A process whose parent has died is nobody's descendant: it has to be known before.
        with suppress(psutil.NoSuchProcess):
            self._family |= set(psutil.Process(self._process.pid).children(recursive=True))

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n" + "\n".join(lines) if lines else ""
