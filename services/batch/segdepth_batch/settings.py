"""How a batch job is run, from SEGDEPTH_BATCH_* variables."""

import os
import tempfile
from pathlib import Path
from typing import Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _temporary(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"segdepth-{name}-{os.getuid()}"


class BatchSettings(BaseSettings):
    """Where jobs lie, what a job takes of the machines, and how it cuts movies up.

    Credentials and endpoint of every s3:// address are those of SEGDEPTH_STORE_*.
    """

    model_config = SettingsConfigDict(env_prefix="SEGDEPTH_BATCH_", frozen=True, extra="forbid")

    store: str = Field("", description="folder or s3://bucket/prefix that holds jobs/ and uploads/")
    models: str = Field("", description="artefact store of the models; empty = SEGDEPTH_STORE_URL")

    chunk_frames: PositiveInt = Field(64, description="frames of a chunk at most; a chunk is done whole or again")
    chunk_mb: PositiveInt = Field(256, description="memory of a chunk's frames and maps at most [MB]")

    actors_min: PositiveInt = Field(1, description="actors with a model each, at least")
    actors_max: PositiveInt = Field(1, description="actors with a model each, at most")
    cpus: NonNegativeFloat = Field(1.0, description="CPUs that Ray reserves for an actor")
    gpus: NonNegativeFloat = Field(0.0, description="GPUs that Ray reserves for an actor")
    readers: PositiveInt = Field(2, description="chunks that are read at the same time")
    retries: int = Field(3, ge=0, description="how often an actor that died is started anew")

    device: str = Field("auto", description="auto, cpu, cuda, cuda:0, ...")
    engine: str = Field("auto", description="auto = the fastest that the model's report permits")
    threads: int = Field(0, ge=0, description="CPU threads of an actor's network; 0 = its share of the cores")
    nice: int = Field(15, ge=0, le=19, description="niceness of a private Ray's workers: interactive frames come first")
    object_store_mb: int = Field(512, ge=100, description="shared memory of a private Ray, for chunks under way [MB]")

    scratch: Path = Field(
        default_factory=lambda: _temporary("batch"), description="folder that inputs are fetched to, on every machine"
    )
    scratch_gb: PositiveFloat = Field(
        20.0, description="size of that folder; what was not used longest goes first [GB]"
    )
    cache: Path = Field(default_factory=lambda: _temporary("models"), description="folder that models are fetched to")
    progress_s: PositiveFloat = Field(2.0, description="the job's state is written at most this often [s]")

    @model_validator(mode="after")
    def _check_actors(self) -> Self:
        if self.actors_min > self.actors_max:
            raise ValueError(f"actors_min is {self.actors_min}, more than actors_max, {self.actors_max}")
        return self
