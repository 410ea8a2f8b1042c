"""The job's chunks through Ray Data: readers in front, an autoscaled pool of actors with the model behind."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.data import ActorPoolStrategy, TaskPoolStrategy

from segdepth_artefacts import open_store
from segdepth_artefacts.jobs import JobRequest
from segdepth_batch.addresses import Addresses
from segdepth_batch.answer_stage import Worker
from segdepth_batch.output import Done
from segdepth_batch.plan import Chunk, Model
from segdepth_batch.read_stage import Reader
from segdepth_batch.settings import BatchSettings
from segdepth_core.engine import choose_device
from segdepth_core.engine import choose_engine as choose

LOOK_S = 2.0
"""How often a job that waits for a place looks whether it was cancelled [s]."""

WAITING = 1
"""Chunks that wait at an actor besides the one that it answers."""


def answered(
    chunks: Sequence[Chunk],
    addresses: Addresses,
    request: JobRequest,
    model: Model,
    settings: BatchSettings,
) -> Iterator[Done | None]:
    """Each chunk's marker as it is stored, in any order; None for a chunk left out because the job was cancelled.

    A chunk whose actor died is answered by another, or by the same one started anew; an actor that died more often than
    `settings.retries` times (a machine that was drained does not count) ends the attempt. What a stage raises comes out
    as an error of Ray.
    """
    rows = ray.data.from_items(
        [{"chunk": chunk.model_dump_json()} for chunk in chunks], override_num_blocks=len(chunks)
    )
    read = rows.map_batches(
        Reader(addresses, request, settings).__call__,
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        # Reading waits for the network, and takes no place of an actor's.
        num_cpus=0,
        compute=TaskPoolStrategy(size=settings.readers),
    )
    done = read.map_batches(
        Worker,
        fn_constructor_args=(addresses, model, settings, request.maps),
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        num_cpus=settings.cpus,
        num_gpus=settings.gpus,
        compute=ActorPoolStrategy(
            min_size=settings.actors_min,
            max_size=settings.actors_max,
            max_tasks_in_flight_per_actor=1 + WAITING,
        ),
        # What bounds a chunk that kills whoever answers it is how often its actor comes back. Calls to an actor whose
        # machine went are tried again without end meanwhile: they fail faster than another machine comes.
        max_restarts=settings.retries,
        max_task_retries=-1,
    )
    for row in done.iter_rows():
        yield Done.model_validate_json(row["done"]) if row["done"] else None


class CancelledWaiting(RuntimeError):
    """The job was cancelled while it waited for a place on a worker."""


def choose_engine(settings: BatchSettings, family: str, version: str, cancelled: Callable[[], bool]) -> str:
    """The engine that actors will run, asked on a machine like theirs. EngineRefused in an error of Ray.

    CancelledWaiting if the job is cancelled while it waits for a place, which may take long.
    """
    engine: str = _placed(settings, cancelled, _engine, settings, family, version)
    return engine


def await_place(settings: BatchSettings, cancelled: Callable[[], bool]) -> None:
    """Return when there is a place for an actor. CancelledWaiting if the job is cancelled meanwhile."""
    _placed(settings, cancelled, _nothing)


def _placed(
    settings: BatchSettings, cancelled: Callable[[], bool], function: Callable[..., Any], *words: object
) -> Any:
    """What a function returns in the first place of an actor's size that the cluster finds for it."""
    answer = ray.remote(num_cpus=settings.cpus, num_gpus=settings.gpus)(function).remote(*words)
    while not ray.wait([answer], timeout=LOOK_S)[0]:
        if cancelled():
            ray.cancel(answer)
            raise CancelledWaiting
    return ray.get(answer)


def _engine(settings: BatchSettings, family: str, version: str) -> str:
    manifest = open_store(settings.models or None).manifest(family, version)
    return choose(manifest, choose_device(settings.device), settings.engine)


def _nothing() -> None:
    """What only waits for its place."""
