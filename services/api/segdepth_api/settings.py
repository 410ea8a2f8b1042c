"""Settings of the api, read from SEGDEPTH_API_* variables."""

from pathlib import Path
from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

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
