"""The inputs of a job: files and folders of this machine, s3:// addresses, uploads."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segdepth.files import PICTURES, SINGLE, Movie, format_of, open_movie
from segdepth_artefacts import StoreSettings
from segdepth_artefacts.folder import FolderStore
from segdepth_artefacts.jobs import UPLOAD
from segdepth_artefacts.objects import ObjectStore
from segdepth_artefacts.open_objects import open_objects
from segdepth_batch.errors import JobRefused
from segdepth_batch.scratch import Scratch
from segdepth_batch.settings import BatchSettings

S3 = "s3://"

_MOVIES = frozenset(SINGLE) - PICTURES
"""What is taken below a folder: the pictures there may be those of earlier results."""


@dataclass(frozen=True)
class Found:
    """A file that may be a movie."""

    source: str
    size_bytes: int
    tag: str


class Sources:
    """Finds and opens inputs. Paths of this machine are inputs only where `local` says so: never for an api's caller.

    `principal` owns the uploads.
    """

    def __init__(self, settings: BatchSettings, principal: str, *, local: bool):
        self._settings, self._principal, self._local = settings, principal, local
        self._scratch = Scratch(settings.scratch, settings.scratch_gb * 1e9)

    def find(self, text: str) -> list[Found]:
        """The files that an input means, sorted; below a folder or prefix only those that look like movies.

        JobRefused if there is none.
        """
        known = format_of(Path(text))
        if known is not None and known.instead:
            raise JobRefused(f"input {text}: {known.instead}")
        objects, key, base = self._place(text)
        entries = objects.entries(key)
        one = [entry for entry in entries if entry.key == key]
        movies = one or [entry for entry in entries if Path(entry.key).suffix.lower() in _MOVIES]
        if not movies:
            raise JobRefused(f"input {text}: no movie there; there is {', '.join(sorted(_MOVIES))}")
        return [Found(f"{base}{entry.key}", entry.size_bytes, entry.tag) for entry in movies]

    @contextmanager
    def opened(self, found: Found, sampling_A: float | None) -> Iterator[Movie]:
        """The movie. UnreadableFile, JobRefused if the file is not the one that was found."""
        objects, key, _ = self._place(found.source)
        if isinstance(objects, FolderStore):
            with open_movie(objects.root / key, sampling_A) as movie:
                yield movie
            return
        with self._scratch.copy(
            found.source, found.tag, found.size_bytes, lambda path: objects.download(key, path)
        ) as path:
            movie = open_movie(path, sampling_A)
        with movie:
            yield movie

    def _place(self, text: str) -> tuple[ObjectStore, str, str]:
        """The store that holds an input, its key there ("" = everything), and what a key's source begins with."""
        if text.startswith(S3):
            bucket, _, key = text.removeprefix(S3).partition("/")
            return open_objects(f"{S3}{bucket}", StoreSettings()), key.strip("/"), f"{S3}{bucket}/"
        if text.startswith(UPLOAD):
            objects = open_objects(f"{self._settings.store.rstrip('/')}/uploads/{self._principal}", StoreSettings())
            return objects, text.removeprefix(UPLOAD), UPLOAD
        if not self._local:
            raise JobRefused(f"input {text}: neither s3:// nor an upload")
        path = Path(text).expanduser().absolute()
        if not path.exists():
            raise JobRefused(f"input {text}: no such file or folder")
        folder, key = (path.parent, path.name) if path.is_file() else (path, "")
        return FolderStore(folder), key, f"{folder}/"
