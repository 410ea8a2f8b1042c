"""What carries jobs out: a cluster, or a process of this machine."""

from typing import Protocol

from segdepth_artefacts.jobs import Priority


class Runner(Protocol):
    """Starts jobs whose request is stored. All methods answer in bounded time."""

    async def open(self) -> None:
        """Begin. Jobs that were left unfinished go on, where nothing else sees to that."""

    async def start(self, job: str, principal: str, priority: Priority) -> None:
        """See to it that the job is carried out; again: no effect. Problem 503 or 429 if that cannot be now."""

    async def problem(self, job: str) -> str:
        """Why a job that has not ended by its own word will not go on; empty if it will."""

    async def remove(self, job: str) -> None:
        """Take back a job that has not begun."""

    async def close(self) -> None:
        """End what was begun here. What is not finished goes on at the next start."""
