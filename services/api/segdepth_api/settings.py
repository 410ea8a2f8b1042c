"""Settings of the api, read from SEGDEPTH_API_* variables."""

from pathlib import Path
from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from segdepth_api.kubernetes import ACCOUNT
from segdepth_artefacts.jobs import Priority
from segdepth_protos.contract import is_loopback


class ApiSettings(BaseSettings):
    """Where the api listens, which gateway it asks, and how much it takes on at once."""

    model_config = SettingsConfigDict(env_prefix="SEGDEPTH_API_", extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen at")
    port: int = Field(8080, ge=0, le=65535, description="0 = any free port")
    tls_cert: Path | None = Field(None, description="PEM certificate chain of this server")
    tls_key: Path | None = Field(None, description="PEM private key of this server")
    insecure: bool = Field(False, description="Listen beyond loopback without TLS, behind a proxy that has it")

    gateway: str = Field("127.0.0.1:50051", description="host:port of the gateway")
    gateway_tls: bool = Field(False, description="Speak TLS to the gateway, trusting the machine's authorities")
    gateway_ca: Path | None = Field(None, description="PEM authority of the gateway's certificate; implies TLS")
    gateway_cert: Path | None = Field(None, description="PEM certificate of this client, for mutual TLS")
    gateway_key: Path | None = Field(None, description="PEM key of this client, for mutual TLS")
    gateway_name: str | None = Field(None, description="Name in the gateway's certificate, where it is not the host's")

    max_body_bytes: PositiveInt = Field(256 * 1024 * 1024, description="Largest upload")
    max_frames: PositiveInt = Field(256, description="Most frames of one uploaded file")
    max_running: PositiveInt = Field(4, description="Estimates at the same time, uploads included")
    max_waiting: int = Field(16, ge=0, description="Requests that wait for one of these; more are turned away")
    upload_timeout_s: PositiveFloat = Field(120, description="Time for a body to arrive")
    request_timeout_s: PositiveFloat = Field(300, description="Time for waiting and for the gateway's answer")
    lookup_timeout_s: PositiveFloat = Field(10, description="Time for the list of models")
    drain_timeout_s: PositiveInt = Field(30, description="Time that requests under way have at a shutdown")
    max_callers: PositiveInt = Field(64, description="Connections to the gateway kept open, one for each bearer token")

    batch_store: str = Field("", description="Folder or s3://bucket/prefix of batch jobs; empty = there are none")
    batch_prefixes: dict[str, tuple[str, ...]] = Field(
        {"*": ("s3://segdepth-batch/data/{principal}/",)},
        description="What jobs may read and write: patterns of principals, and s3:// prefixes for them",
    )
    batch_template: Path | None = Field(None, description="Template of a RayJob; none = jobs run on this machine")
    batch_priority_classes: dict[Priority, str] = Field(
        {name: f"segdepth-batch-{name}" for name in ("low", "normal", "high")},
        description="Priority class that {{priority}} of the template stands for",
    )
    batch_kubernetes: str = Field("", description="API server; empty = that of this pod's cluster")
    batch_account: Path = Field(ACCOUNT, description="Folder of this pod's account: token, namespace, authority")
    batch_models: str = Field("", description="Model store of jobs on this machine; empty = SEGDEPTH_STORE_URL")
    batch_max_jobs: PositiveInt = Field(20, description="Unfinished jobs of a principal")
    batch_max_waiting: PositiveInt = Field(16, description="Jobs that wait for this machine")
    batch_max_uploads: PositiveInt = Field(1000, description="Files kept for a principal")
    batch_upload_bytes: PositiveInt = Field(4 * 1024**3, description="Largest file for a job")
    batch_upload_timeout_s: PositiveFloat = Field(1800, description="Time for a file to arrive")
    batch_arriving: PositiveInt = Field(2, description="Files that arrive at the same time")

    @model_validator(mode="after")
    def _check_prefixes(self) -> Self:
        for pattern, prefixes in self.batch_prefixes.items():
            for prefix in prefixes:
                plain = prefix.replace("{principal}", "principal")
                if not (plain.startswith("s3://") and plain.endswith("/")) or "{" in plain or "//" in plain[5:]:
                    raise ValueError(
                        f"batch_prefixes: {pattern}: {prefix!r} is not s3://bucket/folder/ with a slash at its end"
                    )
        if missing := {"low", "normal", "high"} - set(self.batch_priority_classes):
            raise ValueError(f"batch_priority_classes: a class is missing for {', '.join(sorted(missing))}")
        return self

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if (self.gateway_cert is None) != (self.gateway_key is None):
            raise ValueError("gateway_cert and gateway_key go together")
        if not (is_loopback(self.host) or self.tls_cert or self.insecure):
            raise ValueError(
                f"listening at {self.host} without TLS would send tokens in plaintext: give tls_cert and tls_key,"
                " or insecure behind a proxy that has TLS"
            )
        return self
