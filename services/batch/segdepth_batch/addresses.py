"""Where a job's documents and its output are, in a form that goes to other processes."""

from dataclasses import dataclass

from segdepth_artefacts import StoreSettings
from segdepth_artefacts.jobs import JobFolder
from segdepth_artefacts.open_objects import open_objects
from segdepth_batch.output import Output


@dataclass(frozen=True)
class Addresses:
    """Addresses alone: every process takes endpoint and credentials from its own environment.

    `store` and `prefix`: the job's documents; `output`: a folder or s3://bucket/prefix; `local`: the job was given on
    this machine's command line, and may read its files.
    """

    store: str
    prefix: str
    output: str
    local: bool

    def folder(self) -> JobFolder:
        """The job's documents."""
        return JobFolder(open_objects(self.store, StoreSettings()), self.prefix)

    def results(self) -> Output:
        """The job's output."""
        return Output(open_objects(self.output, StoreSettings()))
