"""The JSON of a job."""

from pydantic import AwareDatetime, BaseModel, Field

from segdepth_artefacts.jobs import JobRequest, JobState, Priority, Status


class Progress(BaseModel):
    """How far a job is."""

    chunks_done: int
    chunks_total: int
    frames_done: int
    frames_total: int
    frames_per_s: float
    eta_s: float | None


class Job(BaseModel):
    """A job: what was asked, and what became of it."""

    job: str
    principal: str
    status: Status
    message: str = Field(description="what was found, or why it failed")
    input: list[str]
    sampling_A: float | None
    model: str = Field(description="FAMILY/VERSION as soon as it is known")
    priority: Priority
    output: str
    progress: Progress
    created: AwareDatetime
    started: AwareDatetime | None
    updated: AwareDatetime | None
    ended: AwareDatetime | None

    @classmethod
    def of(cls, request: JobRequest, state: JobState, output: str) -> "Job":
        """From the job's documents."""
        family, version = state.family or request.family, state.version or request.version
        return cls(
            job=request.job,
            principal=request.principal,
            status=state.status,
            message=state.message,
            input=list(request.input),
            sampling_A=request.sampling_A,
            model="/".join(filter(None, (family, version))),
            priority=request.priority,
            output=output,
            progress=Progress(**{name: getattr(state, name) for name in Progress.model_fields}),
            created=request.created,
            started=state.started,
            updated=state.updated,
            ended=state.ended,
        )


class Jobs(BaseModel):
    """The latest jobs, newest first."""

    jobs: list[Job]


class Uploaded(BaseModel):
    """A file that a job may name as its input."""

    upload: str = Field(description="for `input`")
    size_bytes: int
