"""How a scheduled run is set up, from SEGDEPTH_TRAINING_* variables."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from segdepth_artefacts.promotion import PromotionGates


class TrainingSettings(BaseSettings):
    """Settings of a training run that nobody watches. The store and its credentials are SEGDEPTH_STORE_*."""

    model_config = SettingsConfigDict(
        env_prefix="SEGDEPTH_TRAINING_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    recipe: Path | None = Field(None, description="TOML recipe; needed for a new run")
    runs: str = Field("runs", description="folder or s3://bucket/prefix below which each run has a folder of its id")
    run_id: str = Field(
        "",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?$",
        description="name of the run: decides its specimens and its gate set; the same id goes on with the same run",
    )
    promote_automatically: bool = Field(
        False, description="point `stable` at a candidate that the gates let through, instead of leaving that to people"
    )
    gates: PromotionGates = Field(PromotionGates(), description="what an automatic promotion asks for")
    principal: str = Field("segdepth-train", min_length=1, description="who the channels' history says it was")
    lease_ttl_s: float = Field(
        120.0, ge=2, le=3600, description="a run that died keeps others of its family from starting for so long [s]"
    )
    room_s: float = Field(
        900.0, gt=0, description="longest wait for a Ray cluster to have room for a task or the workers [s]"
    )
