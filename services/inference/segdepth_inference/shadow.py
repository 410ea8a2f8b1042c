"""The candidate in the shadow of stable: it answers a sample of the frames again, and only counts are kept.

Nobody gets its answers, and nobody waits for them: one sampled frame at most is held, and predicted in the thread that
answers (a second team of OpenMP threads would cost every answer a third of its speed) when that has nothing to do.
Where it always has, a sample goes between two answers so seldom that the candidate takes 2 % of the time. Whatever is
wrong with the candidate or the store, stable goes on answering, and `problem` says why.
"""

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import structlog

from segdepth_artefacts import ArtefactStore, Channel
from segdepth_artefacts.channels import CANDIDATE
from segdepth_artefacts.errors import ArtefactError
from segdepth_core.prediction import Array, Detector, Maps, Prediction
from segdepth_core.predictor import Predictor
from segdepth_inference.backoff import PollBackoff
from segdepth_inference.comparison import compared
from segdepth_inference.families import undecided
from segdepth_inference.keeper import LOAD_ERRORS, ModelKeeper
from segdepth_inference.metrics import ShadowMetrics
from segdepth_inference.tally import Tally
from segdepth_protos.contract import UnknownModel

log = structlog.get_logger(__name__)

BUSY_SHARE = 0.02
"""Share of the time that the candidate takes of a replica that is never idle."""

SHORTEST_WAIT_S = 1.0
"""A sample waits for an idle moment at least this long before it goes between two answers [s]."""

UNWRITTEN = 4
"""Tallies of earlier pairs of versions that wait for a store that does not answer; older ones are forgotten."""


@dataclass(frozen=True)
class Sample:
    """A frame that stable has answered, and the model to answer it too."""

    frame: Array
    detector: Detector
    answer: Prediction
    candidate: Predictor
    taken_at: float


class Shadow:
    """One replica's candidate. `offer` and `compare` are called in the predict thread, `next` in the event loop's.

    `share`: of frames that are sampled, 0-1; 0 = no candidate is loaded. `replica`: this replica's own name.
    """

    def __init__(
        self,
        keeper: ModelKeeper,
        store: ArtefactStore,
        metrics: ShadowMetrics,
        *,
        replica: str,
        share: float,
        channel: str = CANDIDATE,
    ):
        self._keeper = keeper
        self._store = store
        self._metrics = metrics
        self._replica = replica
        self._share = share
        self._channel = channel
        self._log = store.shadow_log()
        self._random = random.Random(replica)
        self._lock = threading.Lock()
        self._candidate: Predictor | None = None
        self._broken: tuple[str, str] | None = None
        self._sample: Sample | None = None
        self._comparing = False
        self._wait_s = SHORTEST_WAIT_S
        self._tally: Tally | None = None
        self._earlier: deque[Tally] = deque(maxlen=UNWRITTEN)
        self._backoff = PollBackoff()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.problem = ""
        """Why the candidate is not run although there is one, or its counts are not kept; empty otherwise."""

    @property
    def candidate(self) -> Predictor | None:
        """The model in the shadow, None where there is none."""
        return self._candidate

    def start(self, poll_s: float, write_s: float) -> None:
        """Look for a candidate every `poll_s` [s] and write the counts every `write_s` [s], until `stop`."""
        arguments = (poll_s, write_s)
        self._thread = threading.Thread(target=self._run, args=arguments, name="model-shadow", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write the counts, if the store answers soon, and stop looking."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self, poll_s: float, write_s: float) -> None:
        written = time.monotonic()
        while not self._stopped.is_set():
            self.follow()
            if time.monotonic() - written >= write_s:
                written = time.monotonic()
                self.write()
            self._stopped.wait(poll_s)
        self.write()

    # Which model it is.

    def follow(self) -> None:
        """Read the channel, load its model if it is another one. Never raises for what the store holds."""
        stable = self._keeper.current
        if stable is None:
            return
        try:
            channel = self._store.channel(stable.version.family, self._channel)
            if channel is None or channel.version == stable.version.version:
                self._put(None)
                self._metrics.waiting(0.0)
                self._report("")
                return
            self._metrics.waiting((datetime.now(UTC) - channel.history[0].time).total_seconds())
            if self._share > 0:
                self._load(channel)
        except (UnknownModel, *LOAD_ERRORS) as error:
            self._report(f"the model that {self._channel} points at is not run in the shadow: {error}")

    def _load(self, channel: Channel) -> None:
        wanted = (channel.family, channel.version)
        if wanted == self._broken:
            return
        now = self._candidate
        if now is None or (now.version.family, now.version.version) != wanted:
            self._put(None)
            if not self._backoff.try_again(channel.etag):
                return
            self._put(self._keeper.resolve(*wanted))
            log.info("shadow.loaded", family=channel.family, candidate=channel.version)
        self._report("")

    def _put(self, candidate: Predictor | None) -> None:
        with self._lock:
            self._candidate = candidate
            self._broken = None
            if candidate is None:
                self._sample = None

    def _report(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.error("shadow.problem", problem=problem)
        self.problem = problem
        self._metrics.problem(bool(problem))

    # The sampled frames.

    def offer(
        self,
        answering: Predictor,
        frames: Sequence[Array],
        detectors: Sequence[Detector],
        answers: Sequence[Prediction],
    ) -> None:
        """A batch was answered: hold one of its frames if it is sampled, and nothing else is held.

        Refused by no model's word, a frame says nothing of the candidate.
        """
        candidate = self._candidate
        if candidate is None or answering is not self._keeper.current or answering.version == candidate.version:
            return
        own = [number for number, answer in enumerate(answers) if not undecided(answer)]
        sampled = [number for number in own if self._random.random() < self._share]
        if not sampled:
            return
        with self._lock:
            free = self._sample is None and not self._comparing
            if free:
                number = self._random.choice(sampled)
                # A copy: the frame is a part of a whole batch in shared memory.
                frame = np.array(frames[number])
                answer = replace(answers[number], maps=Maps())
                self._sample = Sample(frame, detectors[number], answer, candidate, time.monotonic())
            dropped = len(sampled) - free
            if dropped:
                self._tally_of(answering, candidate).drop(dropped)
        if dropped:
            self._metrics.dropped(dropped)

    def next(self, idle: bool) -> Sample | None:
        """The frame to compare now: while the replica is `idle`, or if it has waited long. Then call `compare`."""
        with self._lock:
            sample = self._sample
            if sample is None or not (idle or time.monotonic() - sample.taken_at >= self._wait_s):
                return None
            self._sample, self._comparing = None, True
        return sample

    def compare(self, sample: Sample) -> None:
        """Let the candidate answer the frame, and count."""
        begun = time.monotonic()
        try:
            (answer,) = sample.candidate.predict(
                [sample.frame], [sample.answer.sampling_A], detectors=[sample.detector]
            )
            dose, counts = compared(sample.answer, answer)
            stable, candidate = sample.answer.version.version, answer.version.version
            with self._lock:
                self._tally_for(answer.version.family, candidate, stable).add(dose, counts)
            self._metrics.compared(candidate, dose, counts)
        finally:
            self._wait_s = max(SHORTEST_WAIT_S, (time.monotonic() - begun) / BUSY_SHARE)
            self._comparing = False

    def ended(self, comparing: "asyncio.Future[None]") -> None:
        """A comparison is over. A candidate that fails on a frame is not asked again, until there is another."""
        error = None if comparing.cancelled() else comparing.exception()
        if error is None:
            return
        with self._lock:
            if self._candidate is not None:
                self._broken = (self._candidate.version.family, self._candidate.version.version)
            self._candidate = self._sample = None
        self._report(f"the model that {self._channel} points at failed on a frame: {type(error).__name__}: {error}")

    # The counts.

    def _tally_of(self, stable: Predictor, candidate: Predictor) -> Tally:
        return self._tally_for(candidate.version.family, candidate.version.version, stable.version.version)

    def _tally_for(self, family: str, candidate: str, stable: str) -> Tally:
        now = self._tally
        if now is None or now.of != (family, candidate, stable):
            if now is not None and now.unwritten:
                self._earlier.append(now)
            self._tally = now = Tally(family, candidate, stable)
        return now

    def write(self) -> None:
        """Write what is new to the store. What a store that does not answer misses, it gets the next time."""
        with self._lock:
            tallies = [tally for tally in (*self._earlier, self._tally) if tally is not None and tally.unwritten]
        for tally in tallies:
            with self._lock:
                record, tally.unwritten = tally.record(self._replica), False
            try:
                self._log.write(record)
            except ArtefactError as error:
                tally.unwritten = True
                log.warning("shadow.not_written", candidate=tally.candidate, problem=str(error))
                return
            with self._lock:
                if tally in self._earlier:
                    self._earlier.remove(tally)
