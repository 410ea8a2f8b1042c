"""Making the plan of a job, or following the one that is there."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from segdepth.errors import UnreadableFile
from segdepth_artefacts import ArtefactStore, open_store
from segdepth_artefacts.channels import STABLE
from segdepth_artefacts.errors import CorruptArtefact
from segdepth_artefacts.jobs import JobFolder, JobRequest
from segdepth_batch.errors import JobRefused
from segdepth_batch.plan import Input, Model, Plan, chunk_frames, output_name
from segdepth_batch.settings import BatchSettings
from segdepth_batch.sources import Found, Sources
from segdepth_protos.contract import AUTO

PLAN = "plan.json"
MOVIES = 100_000
"""Most movies of a job: its plan is one document."""

ChooseEngine = Callable[[str, str], str]
"""From family and version to the engine that the job's actors will run."""


def plan_of(
    folder: JobFolder,
    request: JobRequest,
    settings: BatchSettings,
    sources: Sources,
    output: str,
    choose_engine: ChooseEngine,
) -> Plan:
    """The job's plan. Made by its first driver and stored; two drivers at once follow the same.

    JobRefused for inputs that are no movies or have no pixel size; UnknownVersion for a model that is not there.
    """
    stored = folder.read(PLAN)
    if stored is None:
        plan = Plan(
            job=request.job,
            inputs=inputs(request, settings, sources),
            model=model(request, open_store(settings.models or None), choose_engine),
            output=output,
            maps=request.maps,
        )
        stored = folder.write_once(PLAN, plan.model_dump_json(indent=1).encode() + b"\n")
    try:
        return Plan.model_validate_json(stored)
    except ValidationError as exc:
        raise CorruptArtefact(f"{PLAN} of job {request.job} is no plan: {exc}", "submit the job again") from exc


def model(request: JobRequest, store: ArtefactStore, choose_engine: ChooseEngine) -> Model:
    """The version that the request means now."""
    if request.family == AUTO:
        raise JobRefused(f"model {AUTO}: a job is of one family; name it")
    family = request.family or store.default_family()
    version = request.version
    if not version:
        channel = store.channel(family, STABLE)
        if channel is None:
            raise JobRefused(f"model {family}: `stable` points at no version of it in {store.url}; name a version")
        version = channel.version
    manifest = store.manifest(family, version)
    return Model(family=family, version=version, sha256=manifest.weights_sha256, engine=choose_engine(family, version))


def inputs(request: JobRequest, settings: BatchSettings, sources: Sources) -> tuple[Input, ...]:
    """Every movie, each opened once: what cannot be read is refused before anything is counted."""
    found = {each.source: each for text in request.input for each in sources.find(text)}
    if len(found) > MOVIES:
        raise JobRefused(f"{len(found)} movies; a job may have {MOVIES}: submit parts")
    problems: list[str] = []
    movies: list[Input] = []
    for number, each in enumerate(found.values()):
        try:
            movies.append(_look(number, each, request.sampling_A, settings, sources))
        except UnreadableFile as error:
            problems.append(_said(each, error))
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise JobRefused(f"{'; '.join(problems[:5])}{more}")
    return tuple(movies)


def _look(number: int, found: Found, sampling_A: float | None, settings: BatchSettings, sources: Sources) -> Input:
    with sources.opened(found, sampling_A) as movie:
        size = np.dtype(movie.dtype).itemsize
        return Input(
            name=output_name(number, found.source),
            source=found.source,
            size_bytes=found.size_bytes,
            tag=found.tag,
            frames=len(movie),
            height=movie.shape[0],
            width=movie.shape[1],
            dtype=movie.dtype.str,
            sampling_A=movie.calibration.sampling_A,
            chunk_frames=chunk_frames(movie.shape, size, settings.chunk_frames, settings.chunk_mb * 1_000_000),
        )


def _said(found: Found, error: UnreadableFile) -> str:
    """The error with the caller's name of the file, not with that of its local copy."""
    path, _, why = str(error).partition(": ")
    return f"{found.source}: {why}" if why and Path(path).suffix else f"{found.source}: {error}"
