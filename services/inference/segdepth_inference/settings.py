"""How a replica is run."""

import tempfile
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class InferenceSettings(BaseSettings):
    """Settings of the Serve replica, from the environment (SEGDEPTH_INFERENCE_*)."""

    model_config = SettingsConfigDict(env_prefix="SEGDEPTH_INFERENCE_", frozen=True, extra="forbid")

    store: str = Field(default="", description="artefact store; empty = SEGDEPTH_STORE_URL")
    family: str = Field(default="", description="model family to serve; empty = the store's default")
    channel: str = Field(default="stable", description="channel whose model answers")
    poll_s: float = Field(default=10.0, gt=0, description="how often the channel is read [s]")
    cache: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()) / "segdepth-models",
        description="folder that fetched models are kept in",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:0, ...")
    engine: str = Field(default="auto", description="auto = the fastest that the model's report permits")
    threads: int = Field(default=0, ge=0, description="CPU threads of the network; 0 = all cores")
    replicas: int = Field(default=1, ge=1, description="replicas to start")
    max_ongoing: int = Field(default=8, ge=1, le=64, description="calls (batches, status) a replica accepts at once")
    cpus: float = Field(default=1.0, ge=0, description="CPUs that Ray reserves for a replica")
    gpus: float = Field(default=0.0, ge=0, description="GPUs that Ray reserves for a replica")
