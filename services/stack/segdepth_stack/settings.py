"""Settings of the local stack, from SEGDEPTH_STACK_* variables or the options of `segdepth serve`."""

import os
from pathlib import Path
from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from segdepth_protos.contract import is_loopback


def usable_cpus() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class StackSettings(BaseSettings):
    """What runs, and where it listens. A port of 0 is any free one."""

    model_config = SettingsConfigDict(env_prefix="SEGDEPTH_STACK_", extra="forbid", frozen=True)

    store: str | None = Field(None, description="Artefact store: folder or s3://bucket/prefix; by default the released")
    family: str = Field("", description="Model family to serve; by default the store's only one")
    replicas: PositiveInt = Field(1, description="Replicas of the model")

    host: str = Field("127.0.0.1", description="Address that gateway and api listen at")
    port: int = Field(50051, ge=0, le=65535, description="Port of the gateway (gRPC)")
    http_port: int = Field(8080, ge=0, le=65535, description="Port of the api (HTTP)")
    metrics_port: int = Field(9090, ge=0, le=65535, description="Port of the gateway's metrics (HTTP)")

    tokens: Path | None = Field(None, description="File of hashed tokens with their scopes; without it all may ask")
    tls_cert: Path | None = Field(None, description="PEM certificate chain of gateway and api")
    tls_key: Path | None = Field(None, description="PEM private key of that certificate")
    tls_client_ca: Path | None = Field(None, description="PEM authorities of clients' certificates; set = mutual TLS")
    api_cert: Path | None = Field(None, description="PEM certificate of the api as a client, for mutual TLS")
    api_key: Path | None = Field(None, description="PEM private key of that certificate")
    tls_ca: Path | None = Field(None, description="PEM authority of that certificate, for the api's way to the gateway")
    insecure: bool = Field(False, description="Listen beyond loopback without TLS and tokens")

    batch: str | None = Field(None, description="Folder or s3://bucket/prefix of batch jobs; without it there are none")

    cpus: PositiveInt = Field(default_factory=usable_cpus, description="Cores that Ray may use")
    object_store_mb: PositiveInt = Field(512, ge=100, description="Shared memory for frames under way")
    start_timeout_s: PositiveFloat = Field(180, description="Time to become ready")
    drain_timeout_s: PositiveInt = Field(30, description="Time for what is under way when told to stop")

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if not (is_loopback(self.host) or self.insecure or (self.tls_cert and self.tokens)):
            raise ValueError(f"listening at {self.host} needs tls_cert, tls_key and tokens, or insecure")
        return self
