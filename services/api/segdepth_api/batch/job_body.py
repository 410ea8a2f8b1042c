"""What a caller may say of a job: input, model, priority and output. Nothing of how it is run."""

from pydantic import BaseModel, ConfigDict, Field

from segdepth_artefacts.jobs import Priority

Text = Field(min_length=1, max_length=1024)


class JobBody(BaseModel):
    """Body of POST /v1/batch/jobs. A field that is not here is an error: image, command or environment are ours."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "example": {"input": ["s3://segdepth-batch/data/alice/night/"], "sampling_A": 0.1, "model": "ceo2-110"}
        },
    )

    input: list[str] = Field(
        min_length=1, max_length=1000, description="s3:// files or folders of movies, and uploads (upload:...)"
    )
    sampling_A: float | None = Field(None, gt=0, description="Pixel size [Å/px]; by default the headers'")
    model: str = Field("", max_length=256, description="FAMILY or FAMILY/VERSION; by default the stable one")
    priority: Priority = Field("normal", description="Against other jobs; frames of stations always come first")
    output: str = Field("", max_length=1024, description="s3:// folder; by default one of the job's own")
    maps: bool = Field(True, description="Depth and confidence of each pixel, besides the tables")
