"""Jobs as child processes on a local Ray, one at a time: what `segdepth serve` has for a cluster."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from importlib.util import find_spec

import structlog

from segdepth_api.problems import Problem
from segdepth_artefacts.jobs import Priority

log = structlog.get_logger("segdepth.api.batch")

STOP_S = 20.0
"""Time that a job has to end when it is told to [s]."""

RETRY_S = 30.0

Unfinished = Callable[[], Awaitable[list[str]]]
"""Names the jobs that have not ended, oldest first."""


class LocalRunner:
    """Runs `python -m segdepth_batch run --job ID` for one job after another. At most `waiting` wait."""

    def __init__(self, store: str, models: str, waiting: int, unfinished: Unfinished):
        self._environment = {"SEGDEPTH_BATCH_STORE": store, **({"SEGDEPTH_BATCH_MODELS": models} if models else {})}
        self._queue: asyncio.Queue[str] = asyncio.Queue(waiting)
        self._known: set[str] = set()
        self._unfinished = unfinished
        self._working: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def open(self) -> None:
        """Go on with what an earlier process left."""
        for job in await self._unfinished():
            if self._queue.full():
                log.warning("job.not_resumed", job=job, detail="more are unfinished than may wait")
                break
            self._put(job)
        self._working = asyncio.create_task(self._work())

    async def start(self, job: str, principal: str, priority: Priority) -> None:  # noqa: ARG002 - a runner's signature
        """Queue it."""
        if find_spec("segdepth_batch") is None:
            raise Problem(501, "not-supported", "jobs need: pip install segdepth-batch, where the api runs")
        if job in self._known:
            return
        if self._queue.full():
            raise Problem(
                429, "too-many-jobs", f"{self._queue.maxsize} jobs wait already; try again", retry_after_s=RETRY_S
            )
        self._put(job)

    def _put(self, job: str) -> None:
        self._known.add(job)
        self._queue.put_nowait(job)

    async def problem(self, job: str) -> str:
        """A job that nobody knows was left by a process that ended."""
        return "" if job in self._known else "it was interrupted; submit it again with the same key to go on"

    async def remove(self, job: str) -> None:
        """Nothing: its turn will come, and it will see that it was cancelled."""

    async def close(self) -> None:
        """Stop the job under way; it goes on at the next start."""
        if self._working is None:
            return
        self._working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._working
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            # Its stdin ends when this process does, however that happens, and then so does the job.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "segdepth_batch", "run", "--job", job, "--watch-stdin"),
                stdin=asyncio.subprocess.PIPE,
                env=os.environ | self._environment,
                start_new_session=True,  # Ctrl-C is for the parent
            )
            code = await self._process.wait()
            log.info("job.process_ended", job=job, code=code)
            self._known.discard(job)
