"""manifest.json: what a job's output holds, and how it came to be."""

from datetime import datetime
from importlib.metadata import version
from typing import Any, Literal

from pydantic import AwareDatetime

from segdepth_artefacts.errors import CorruptArtefact
from segdepth_artefacts.jobs import JobFolder, JobRequest
from segdepth_artefacts.manifest import Strict
from segdepth_batch.output import MANIFEST, Done, Output
from segdepth_batch.plan import Input, Model, Plan

COUNTED = ("ok", "suspect", "refused", "unreadable")


class Manifest(Strict):
    """Written once, when every chunk is done."""

    format: Literal[1] = 1
    job: str
    principal: str
    software: str
    request: JobRequest
    model: Model
    inputs: tuple[Input, ...]
    frames: int
    columns: int
    ok: int
    suspect: int
    refused: int
    unreadable: int
    chunks: tuple[Done, ...]
    created: AwareDatetime
    started: AwareDatetime
    ended: AwareDatetime


def write_manifest(
    folder: JobFolder, output: Output, request: JobRequest, plan: Plan, started: datetime, ended: datetime
) -> dict[str, int]:
    """Write the manifest beside the output and the job; the numbers of frames by verdict.

    CorruptArtefact if an object of a chunk is not there, or not as it was written.
    """
    chunks = [_done(output, chunk.name) for chunk in plan.chunks()]
    _check(output, chunks)
    totals: dict[str, int] = {name: sum(getattr(done, name) for done in chunks) for name in COUNTED}
    manifest = Manifest(
        job=plan.job,
        principal=request.principal,
        software=version("segdepth-batch"),
        request=request,
        model=plan.model,
        inputs=plan.inputs,
        frames=plan.frames,
        columns=sum(done.columns for done in chunks),
        chunks=tuple(chunks),
        created=request.created,
        started=started,
        ended=ended,
        ok=totals["ok"],
        suspect=totals["suspect"],
        refused=totals["refused"],
        unreadable=totals["unreadable"],
    )
    document = manifest.model_dump_json(indent=1).encode() + b"\n"
    stored = folder.write_once(MANIFEST, document)
    if output.objects.etag(MANIFEST) is None:
        output.objects.write(MANIFEST, stored, replaces=None)
    return totals


def _done(output: Output, chunk: str) -> Done:
    done = output.done(chunk)
    if done is None:
        raise CorruptArtefact(f"chunk {chunk} in {output.objects.url} was done and is gone", "run the job again")
    return done


def _check(output: Output, chunks: list[Done]) -> None:
    there: dict[str, Any] = {
        entry.key: entry.size_bytes for part in ("columns", "frames", "maps") for entry in output.objects.entries(part)
    }
    for done in chunks:
        for key, stored in done.objects.items():
            if there.get(key) != stored.size_bytes:
                raise CorruptArtefact(
                    f"{key} in {output.objects.url} is {'missing' if key not in there else 'not what was written'}",
                    f"remove chunks/{done.chunk}.json there, and run the job again",
                )
