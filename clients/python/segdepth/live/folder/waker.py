"""Wakes up when something changes in a folder, where the file system tells."""

import threading
from pathlib import Path

MOST_NAMES = 10_000
"""Of changed files that are kept; with more the whole folder is looked at."""

DEBOUNCE_MS, STEP_MS = 60, 20
"""Changes are collected for so long, unless there is none for a step."""


class Waker:
    """Collects the names of what has changed. Network file systems tell nothing, or only of this machine's own changes:
    whoever waits here also looks at the folder now and then.
    """

    def __init__(self, folder: Path, *, recursive: bool):
        self._folder, self._recursive = folder, recursive
        self._changed: set[Path] = set()
        self._lock, self._awake, self._stop = threading.Lock(), threading.Event(), threading.Event()
        self.trouble = ""
        """Why nothing is told: the library is missing, or the system's limits are reached."""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to listen, in a thread."""
        try:
            import watchfiles
        except ImportError:
            self.trouble = "watchfiles is not installed (pip install 'segdepth[cli]')"
            return

        def listen() -> None:
            try:
                for changes in watchfiles.watch(
                    self._folder,
                    watch_filter=None,
                    debounce=DEBOUNCE_MS,
                    step=STEP_MS,
                    stop_event=self._stop,
                    rust_timeout=1000,
                    recursive=self._recursive,
                    ignore_permission_denied=True,
                ):
                    self._add({Path(name) for _, name in changes})
            except (OSError, RuntimeError) as error:
                # The folder has gone, or there are more watches than the system allows: the regular looks go on.
                self.trouble = str(error)

        self._thread = threading.Thread(target=listen, name="segdepth-waker", daemon=True)
        self._thread.start()

    def _add(self, paths: set[Path]) -> None:
        with self._lock:
            self._changed |= paths
            if len(self._changed) > MOST_NAMES:
                self._changed = {self._folder}
        self._awake.set()

    def wait(self, timeout_s: float) -> None:
        """Until something has changed, `wake` was called, or the time is over [s]."""
        self._awake.wait(timeout_s)

    def take(self) -> set[Path]:
        """What has changed since; the folder itself stands for more than that."""
        with self._lock:
            changed, self._changed = self._changed, set()
            self._awake.clear()
        return changed

    def wake(self) -> None:
        """From another thread."""
        self._awake.set()

    def stop(self) -> None:
        """Listen no more."""
        self._stop.set()
        if self._thread:
            self._thread.join()
