"""The JSON of an answer: the same names and numbers as columns.csv and summary.json."""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from segdepth.results import Answer, Check, Columns, FrameResult, ModelInfo


class Model(BaseModel):
    """The model that answered."""

    family: str
    version: str
    sha256: str = Field(description="of the weights")
    engine: str


class CheckAnswer(BaseModel):
    """One question asked of a frame: the value measured and the range permitted. A bound that is null is open.

    Outside `lower` to `upper` the frame is refused, outside `ok_lower` to `ok_upper` suspect.
    """

    name: str
    status: Literal["ok", "suspect", "refused"]
    value: float | None
    lower: float | None
    upper: float | None
    unit: str
    message: str
    ok_lower: float | None = None
    ok_upper: float | None = None


class Column(BaseModel):
    """One atomic column."""

    x_px: float = Field(description="along a row; 0 is the centre of the left-most pixel")
    y_px: float
    x_A: float = Field(description="x_px times the frame's sampling [Å]")
    y_A: float
    species: str = Field(description="element of the column, one of those the model knows")
    count: int = Field(description="most likely number of atoms; 10 = ten or more")
    p_count: float = Field(description="posterior probability of `count`")
    lo90: int = Field(
        description="lower end of the smallest contiguous set of counts with at least 0.90 of the posterior"
    )
    hi90: int = Field(description="upper end of that set, inclusive")
    abstained: bool = Field(description="the posterior is too flat for the count to be used")


class MeasuredAnswer(BaseModel):
    """A value and its standard error."""

    value: float
    error: float


class ConditionsAnswer(BaseModel):
    """How a frame was taken, as its columns tell it."""

    contrast: MeasuredAnswer = Field(description="times what a simulation without inelastic scattering predicts")
    vibration_A: MeasuredAnswer = Field(description="blur of the specimen's image, standard deviation [Å]")
    defocus_A: MeasuredAnswer = Field(description="from the specimen's lowest atom; overfocus is positive [Å]")


class FrameAnswer(BaseModel):
    """The answer to one frame. A refused frame has no columns; `checks` says why."""

    frame: int = Field(description="from 0")
    model: Model
    status: Literal["ok", "suspect", "refused"]
    sampling_A: float = Field(description="pixel size used [Å/px]")
    conditions: ConditionsAnswer | None = Field(description="null where nothing tells them")
    checks: list[CheckAnswer]
    columns: list[Column]
    total_ms: float = Field(description="from the frame's arrival at the gateway to its answer")


class GapAnswer(BaseModel):
    """Frames `first` to `last` (inclusive) have no answer."""

    first: int
    last: int
    reason: str
    detail: str


MODEL: dict[str, JsonValue] = {"family": "ceo2-110", "version": "1.0.0", "sha256": "9f2c…", "engine": "torch-bf16"}
EXAMPLE: dict[str, JsonValue] = {
    "model": MODEL,
    "frames": [
        {
            "frame": 0,
            "model": MODEL,
            "status": "ok",
            "sampling_A": 0.1,
            "conditions": {
                "contrast": {"value": 0.96, "error": 0.06},
                "vibration_A": {"value": 0.12, "error": 0.03},
                "defocus_A": {"value": 46.0, "error": 5.0},
            },
            "checks": [
                {
                    "name": "sampling",
                    "status": "ok",
                    "value": 0.1,
                    "lower": 0.05,
                    "upper": 0.25,
                    "unit": "Å/px",
                    "message": "",
                    "ok_lower": 0.05,
                    "ok_upper": 0.25,
                }
            ],
            "columns": [
                {
                    "x_px": 31.207,
                    "y_px": 18.943,
                    "x_A": 3.121,
                    "y_A": 1.894,
                    "species": "Ce",
                    "count": 6,
                    "p_count": 0.8713,
                    "lo90": 5,
                    "hi90": 6,
                    "abstained": False,
                }
            ],
            "total_ms": 41.5,
        }
    ],
    "gaps": [],
    "notes": [],
}


class Estimate(BaseModel):
    """The answers to all frames of a request."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    model: Model | None = Field(description="of the first frame; null if none was answered")
    frames: list[FrameAnswer]
    gaps: list[GapAnswer]
    notes: list[str] = Field(description="what is odd about how the file was read; docs/files.md explains it")

    @classmethod
    def of(cls, answers: Sequence[Answer], notes: Sequence[str]) -> "Estimate":
        """From the SDK's answers, and what there is to say of the file."""
        results = [answer for answer in answers if isinstance(answer, FrameResult)]
        model = Model(**vars(results[0].model)) if results else None
        gaps = [
            GapAnswer(first=gap.first, last=gap.last, reason=gap.reason.value, detail=gap.detail)
            for gap in answers
            if not isinstance(gap, FrameResult)
        ]
        return cls(model=model, frames=[_frame(result) for result in results], gaps=gaps, notes=list(notes))


class ModelAnswer(BaseModel):
    """A model that the service has, the frames it takes, and whether it answers now."""

    family: str
    version: str
    sha256: str
    engine: str
    created: str | None = Field(description="ISO 8601")
    channels: list[str] = Field(description="that point at it: stable, candidate")
    serving: bool
    problem: str = Field(description="why it does not answer although a channel points at it")
    sampling_lower_A: float = Field(description="[Å/px]")
    sampling_upper_A: float = Field(description="[Å/px]")
    field_lower_A: float = Field(description="smallest field of view [Å]")
    description: str
    assumes: str = Field(description="of the instrument: ranges of contrast, vibration and defocus, or none")
    forced: str = Field(description="why stable points at it against the gates, with what they refused; or empty")

    @classmethod
    def of(cls, info: ModelInfo) -> "ModelAnswer":
        """From the SDK's answer."""
        return cls(
            **vars(info.version),
            created=info.created.isoformat() if info.created else None,
            channels=list(info.channels),
            serving=info.serving,
            problem=info.problem,
            sampling_lower_A=info.sampling_range_A[0],
            sampling_upper_A=info.sampling_range_A[1],
            field_lower_A=info.field_lower_A,
            description=info.description,
            assumes=info.assumes,
            forced=info.forced,
        )


class Models(BaseModel):
    """All models."""

    models: list[ModelAnswer]


def _frame(result: FrameResult) -> FrameAnswer:
    return FrameAnswer(
        frame=result.sequence,
        model=Model(**vars(result.model)),
        status=result.domain.status.value,
        sampling_A=result.sampling_A,
        conditions=ConditionsAnswer.model_validate(result.conditions.fields()) if result.conditions else None,
        checks=[_check(check) for check in result.domain.checks],
        columns=_columns(result.columns),
        total_ms=round(result.timings.total_ms, 3),
    )


def _check(check: Check) -> CheckAnswer:
    # JSON has no NaN: what could not be measured is null.
    value = check.value if math.isfinite(check.value) else None
    return CheckAnswer(**{**vars(check), "status": check.status.value, "value": value})


def _columns(columns: Columns) -> list[Column]:
    return [
        Column(
            x_px=round(float(columns.x_px[i]), 3),
            y_px=round(float(columns.y_px[i]), 3),
            x_A=round(float(columns.x_A[i]), 3),
            y_A=round(float(columns.y_A[i]), 3),
            species=species,
            count=int(columns.count[i]),
            p_count=round(float(columns.p_count[i]), 4),
            lo90=int(columns.lo90[i]),
            hi90=int(columns.hi90[i]),
            abstained=bool(columns.abstained[i]),
        )
        for i, species in enumerate(columns.species_names())
    ]
