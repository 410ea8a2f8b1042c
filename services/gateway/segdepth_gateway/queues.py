"""Frames that wait for a replica: by priority, by lane, and in fair turns of their senders."""

from collections import OrderedDict, deque

from segdepth_gateway.job import Job, Lane
from segdepth_protos.v1 import estimator_pb2

PRIORITIES = (estimator_pb2.PRIORITY_INTERACTIVE, estimator_pb2.PRIORITY_BATCH)
"""In the order of service."""


class Turns:
    """Frames of one lane. Senders take turns, so that a full camera does not keep a single picture waiting."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[object, deque[Job]] = OrderedDict()
        self._frames, self._nbytes = 0, 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, job: Job) -> None:
        """Behind the sender's other frames."""
        mine = self._waiting.get(job.sender)
        if mine is None:
            mine = self._waiting[job.sender] = deque()
        mine.append(job)
        self._count(job, 1)

    def remove(self, job: Job) -> bool:
        """Whether it was there. Usually it is the sender's oldest, found at once."""
        mine = self._waiting.get(job.sender)
        if mine is None or job not in mine:
            return False
        mine.remove(job)
        self._count(job, -1)
        if not mine:
            del self._waiting[job.sender]
        return True

    def take(self, frames: int, nbytes: int) -> list[Job]:
        """Up to so many frames and bytes, at least one frame."""
        batch: list[Job] = []
        while self._waiting and len(batch) < frames:
            sender, mine = next(iter(self._waiting.items()))
            if batch and mine[0].nbytes > nbytes:
                break
            job = mine.popleft()
            nbytes -= job.nbytes
            batch.append(job)
            self._count(job, -1)
            if mine:
                self._waiting.move_to_end(sender)
            else:
                del self._waiting[sender]
        return batch

    def fill(self, frames: int, nbytes: int) -> bool:
        """Whether what waits is a batch of so many frames, or bytes."""
        return self._frames >= frames or self._nbytes >= nbytes

    def _count(self, job: Job, frames: int) -> None:
        self._frames += frames
        self._nbytes += frames * job.nbytes


class Queues:
    """All that waits. Bounded by the credit of its senders."""

    def __init__(self) -> None:
        self._lanes: dict[int, OrderedDict[Lane, Turns]] = {priority: OrderedDict() for priority in PRIORITIES}
        self.waiting: dict[int, int] = dict.fromkeys(PRIORITIES, 0)
        """Frames by priority."""

    def __bool__(self) -> bool:
        return any(self.waiting.values())

    def add(self, job: Job) -> None:
        """Queue a frame."""
        assert job.lane is not None
        lanes = self._lanes[job.priority]
        turns = lanes.get(job.lane)
        if turns is None:
            turns = lanes[job.lane] = Turns()
        turns.add(job)
        self.waiting[job.priority] += 1

    def remove(self, job: Job) -> bool:
        """Take a frame out again; False if it was not waiting any more."""
        assert job.lane is not None
        lanes = self._lanes[job.priority]
        turns = lanes.get(job.lane)
        if turns is None or not turns.remove(job):
            return False
        if not turns:
            del lanes[job.lane]
        self.waiting[job.priority] -= 1
        return True

    def take(self, frames: int, nbytes: int, *, full: bool = False) -> list[Job]:
        """The next micro-batch: of the first priority that has one, from the lane whose turn it is; with `full` from
        the first lane that fills one, if any does."""
        for priority in PRIORITIES:
            lanes = self._lanes[priority]
            if lanes:
                turn = (lane for lane, turns in lanes.items() if not full or turns.fill(frames, nbytes))
                lane = next(turn, None)
                if lane is None:
                    return []
                batch = lanes[lane].take(frames, nbytes)
                if lanes[lane]:
                    lanes.move_to_end(lane)
                else:
                    del lanes[lane]
                self.waiting[priority] -= len(batch)
                return batch
        return []
