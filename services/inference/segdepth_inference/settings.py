"""How a replica is run."""

import tempfile
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from segdepth_artefacts.channels import CANDIDATE


class InferenceSettings(BaseSettings):
    """Settings of the Serve replica, from the environment (SEGDEPTH_INFERENCE_*)."""

    model_config = SettingsConfigDict(env_prefix="SEGDEPTH_INFERENCE_", frozen=True, extra="forbid")

    store: str = Field(default="", description="artefact store; empty = SEGDEPTH_STORE_URL")
    family: str = Field(default="", description="model family to serve; empty = the store's default")
    channel: str = Field(default="stable", description="channel whose model answers")
    poll_s: float = Field(default=2.0, gt=0, description="how often the channel is read [s]")
    cache: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()) / "segdepth-models",
        description="folder that fetched models are kept in",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:0, ...")
    engine: str = Field(default="auto", description="auto = the fastest that the model's report permits")
    threads: int = Field(default=0, ge=0, description="CPU threads of the network; 0 = all cores that the pod may use")
    shadow_share: float = Field(
        default=0.0, ge=0, le=1, description="share of frames that the candidate answers too, unseen; 0 = no candidate"
    )
    shadow_channel: str = Field(default=CANDIDATE, description="channel of the candidate")
    shadow_poll_s: float = Field(default=10.0, gt=0, description="how often the candidate's channel is read [s]")
    shadow_write_s: float = Field(default=60.0, gt=0, description="how often what it did is written to the store [s]")
    replicas: int = Field(default=1, ge=1, description="replicas, where their number is fixed")
    min_replicas: int = Field(default=1, ge=1, description="fewest replicas, where their number follows the load")
    max_replicas: int | None = Field(
        default=None, ge=1, description="most replicas; set = their number follows the load, none = it is fixed"
    )
    target_ongoing: float = Field(
        default=2.0, gt=0, description="calls under way at each replica that more or fewer replicas shall bring about"
    )
    upscale_delay_s: float = Field(default=15.0, ge=0, description="how long more must be needed before there are [s]")
    downscale_delay_s: float = Field(
        default=300.0, ge=0, description="how long fewer must be enough before there are [s]"
    )
    max_ongoing: int = Field(default=8, ge=1, le=64, description="calls (batches, status) a replica accepts at once")
    cpus: float = Field(default=1.0, ge=0, description="CPUs that Ray reserves for a replica")
    gpus: float = Field(default=0.0, ge=0, description="GPUs that Ray reserves for a replica")

    @model_validator(mode="after")
    def _check_scaling(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas {self.max_replicas} is less than min_replicas {self.min_replicas}")
        if self.target_ongoing >= self.max_ongoing:
            raise ValueError(
                f"target_ongoing {self.target_ongoing:g} must be less than max_ongoing {self.max_ongoing}: a replica "
                "that takes no more calls than wanted never asks for help"
            )
        return self
