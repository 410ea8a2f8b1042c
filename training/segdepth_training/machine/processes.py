"""Work spread over processes of this machine, one thread each."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

T = TypeVar("T")


def in_processes(
    function: Callable[..., T], tasks: Sequence[tuple[Any, ...]], processes: int, start: str | None = "spawn"
) -> Iterator[tuple[int, T]]:
    """Number and result of each task (arguments of `function`), as it ends.

    A single process is this one. `start` as of multiprocessing: threads of torch do not survive a fork.
    """
    if processes == 1:
        yield from ((number, function(*task)) for number, task in enumerate(tasks))
        return
    with pool(processes, start) as workers:
        futures = {workers.submit(function, *task): number for number, task in enumerate(tasks)}
        for future in as_completed(futures):
            yield futures[future], future.result()


def spans(number: int, size: int) -> list[range]:
    """`number` things in order, `size` at a time."""
    return [range(first, min(first + size, number)) for first in range(0, number, size)]


@contextmanager
def pool(processes: int, start: str | None = "spawn") -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each; after an error what waits is not begun."""
    with (
        one_thread_each(),
        ProcessPoolExecutor(processes, get_context(start), initializer=end_with_parent) as workers,
    ):
        try:
            yield workers
        except BaseException:
            workers.shutdown(cancel_futures=True)
            raise


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started within compute in one thread."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def end_with_parent() -> None:
    """End this process when its parent is gone, however that ended."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
