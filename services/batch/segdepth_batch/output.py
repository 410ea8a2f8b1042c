"""The output of a job: whole objects, each chunk closed by a marker that is written last.

<output>/job.json                       whose output this is
<output>/columns/<chunk>.parquet        a row a column of atoms
<output>/frames/<chunk>.parquet         a row a frame
<output>/maps/<movie>.zarr/             depth and confidence
<output>/chunks/<chunk>.json            there: the chunk is done, of these objects
<output>/manifest.json                  all of it, at the job's end
"""

import hashlib
import tempfile
from pathlib import Path

from pydantic import ValidationError

from segdepth_artefacts.errors import ConditionFailed, CorruptArtefact
from segdepth_artefacts.manifest import Strict
from segdepth_artefacts.objects import ObjectStore
from segdepth_batch import maps
from segdepth_batch.errors import JobRefused
from segdepth_batch.plan import Input

OWNER = "job.json"
MANIFEST = "manifest.json"


class Stored(Strict):
    """An object of the output."""

    sha256: str
    size_bytes: int


class Done(Strict):
    """chunks/<chunk>.json. The same for the same frames and model, whoever wrote it and when."""

    chunk: str
    source: str
    first: int
    frames: int
    ok: int
    suspect: int
    refused: int
    unreadable: int
    columns: int
    objects: dict[str, Stored]


class Owner(Strict):
    """job.json"""

    job: str
    principal: str


class Output:
    """Where a job writes. Nothing of another job is touched."""

    def __init__(self, objects: ObjectStore):
        self.objects = objects

    def claim(self, owner: Owner) -> None:
        """Take the place for a job. JobRefused if it is another's, or holds something else."""
        try:
            self.objects.write(OWNER, owner.model_dump_json().encode() + b"\n", replaces=None)
        except ConditionFailed:
            raise JobRefused(
                f"output {self.objects.url} holds the output of another job; choose another place"
            ) from None

    def describe(self, movie: Input) -> None:
        """Store what describes the movie's maps, unless it is there."""
        head = f"{maps.folder_of(movie)}/zarr.json"
        if self.objects.etag(head) is not None:
            return
        with tempfile.TemporaryDirectory(prefix="segdepth-batch-") as scratch:
            names = list(maps.write_head(Path(scratch), movie))
            # The group's own comes last: where it is, the arrays are described too.
            for name in sorted(names, key=lambda name: name.count("/"), reverse=True):
                self.put(f"{maps.folder_of(movie)}/{name}", Path(scratch, name))

    def put(self, key: str, path: Path) -> Stored:
        """Store a file of a chunk that is not done.

        What a killed attempt left there is replaced: on another kind of processor the last bits of a probability may
        differ. Two that replace each other's at the same time write the same counts.
        """
        with path.open("rb") as file:
            stored = Stored(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size_bytes=path.stat().st_size)
        try:
            self.objects.write(key, path, replaces=None)
        except ConditionFailed:
            self.objects.write(key, path, replaces=self.objects.etag(key))
        return stored

    def finish(self, done: Done) -> Done:
        """Mark a chunk as done; what is marked then, by this process or by one that was faster."""
        try:
            self.objects.write(_marker(done.chunk), done.model_dump_json(indent=1).encode() + b"\n", replaces=None)
        except ConditionFailed:
            return self.done(done.chunk) or done
        return done

    def done(self, chunk: str) -> Done | None:
        """What is marked of a chunk, None if it is not done."""
        stored = self.objects.read(_marker(chunk))
        if stored is None:
            return None
        try:
            return Done.model_validate_json(stored.data)
        except ValidationError as exc:
            raise CorruptArtefact(
                f"{_marker(chunk)} in {self.objects.url} is no marker: {exc}", "remove it, and run the job again"
            ) from exc

    def all_done(self) -> set[str]:
        """Names of the chunks that are done."""
        return {name.removesuffix(".json") for name in self.objects.children("chunks")}


def _marker(chunk: str) -> str:
    return f"chunks/{chunk}.json"
