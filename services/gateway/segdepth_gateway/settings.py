"""How a gateway is run, from SEGDEPTH_GATEWAY_* variables."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from segdepth_artefacts.promotion import PromotionGates, Share
from segdepth_gateway.credit import LEAST_CREDIT_BYTES
from segdepth_protos import contract

SHORTEST_KEY = 32
"""Characters of a session key: as many as HMAC-SHA256 has bytes."""


def _gate(name: str) -> Any:
    gate = PromotionGates.model_fields[name]
    return Field(gate.default, description=f"for a promotion: {gate.description}")


class GatewaySettings(BaseSettings):
    """Settings of a gateway. Everything binds loopback by default."""

    model_config = SettingsConfigDict(env_prefix="SEGDEPTH_GATEWAY_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen at; beyond loopback TLS and tokens are mandatory")
    port: int = Field(50051, ge=0, le=65535, description="port (gRPC); 0 = any free one")
    reuse_port: bool = Field(False, description="let another gateway of this user listen at the same port")
    bind_wait_s: float = Field(3.0, ge=0, description="how long to wait for a port that is still in use [s]")
    metrics_host: str = Field("127.0.0.1", description="address of the metrics (HTTP, no secrets)")
    metrics_port: int | None = Field(9090, ge=0, le=65535, description="port of the metrics; none = no metrics served")
    health_host: str = Field("127.0.0.1", description="address of the plaintext port for health alone")
    health_port: int | None = Field(
        None, ge=0, le=65535, description="port of grpc.health.v1 alone, for probes without TLS; none = not served"
    )

    tls_cert: Path | None = Field(None, description="PEM certificate chain; read again when it changes")
    tls_key: Path | None = Field(None, description="PEM private key of that certificate")
    tls_client_ca: Path | None = Field(None, description="PEM authorities of clients' certificates; set = mTLS")
    tokens: Path | None = Field(None, description="file of hashed tokens with their scopes; read again when it changes")
    insecure: bool = Field(False, description="listen beyond loopback without TLS and tokens")

    session_key: SecretStr | None = Field(None, description="key that signs sessions, the same for all gateways")
    previous_session_key: SecretStr | None = Field(None, description="still accepted, while keys are being rotated")
    session_lifetime_s: PositiveFloat = Field(24 * 3600.0, description="how long a stream may be resumed [s]")

    credit_frames: PositiveInt = Field(512, description="frames of a stream that may be under way")
    credit_bytes: int = Field(
        128 * 1024 * 1024, ge=LEAST_CREDIT_BYTES, description="bytes of a stream that may be under way"
    )
    buffer_bytes: int = Field(
        2 * 1024**3,
        ge=LEAST_CREDIT_BYTES,
        description="bytes that all streams and calls may have under way",
    )
    live_frames: PositiveInt = Field(32, description="frames of a drop_oldest stream that may wait for a replica")

    micro_batch_frames: PositiveInt = Field(64, description="frames of a micro-batch at most")
    micro_batch_bytes: PositiveInt = Field(32 * 1024 * 1024, description="bytes of a micro-batch at most")
    in_flight: PositiveInt = Field(3, description="micro-batches under way for each replica; all but one are full")
    by_value_bytes: int = Field(1024 * 1024, ge=0, description="micro-batches up to this size go by value")
    estimate_timeout_s: PositiveFloat = Field(120.0, description="longest wait for a replica's answer [s]")
    retries: int = Field(2, ge=0, description="how often a micro-batch whose replica died goes to another")

    unary_deadline_s: PositiveFloat = Field(30.0, description="deadline of a unary call that brings none [s]")
    unary_calls: PositiveInt = Field(256, description="unary calls at once")
    streams: PositiveInt = Field(256, description="streams at once")
    idle_timeout_s: PositiveFloat = Field(600.0, description="a stream without frames is asked to reopen [s]")
    stream_age_s: PositiveFloat = Field(1800.0, description="a stream is asked to reopen after this [s]")
    open_timeout_s: PositiveFloat = Field(20.0, description="longest wait for a stream's first message [s]")
    keepalive_s: PositiveFloat = Field(30.0, description="silent connections are pinged this often [s]")
    drain_s: PositiveFloat = Field(30.0, description="longest wait for accepted frames when the gateway stops [s]")
    drain_file: Path | None = Field(
        None, description="file whose appearance drains the gateway; FILE.done appears when that is over"
    )
    poll_s: PositiveFloat = Field(1.0, description="how often replicas are asked how they are [s]")
    unwell_after_s: PositiveFloat = Field(15.0, description="replicas silent for this long are taken for dead [s]")

    store: str | None = Field(None, description="artefact store; empty string = SEGDEPTH_STORE_URL; none = no store")
    app: str = Field("segdepth", description="Serve application")
    estimator: str = Field("estimator", description="Serve deployment that answers")

    gate_max_ece: Share = _gate("max_ece")
    gate_max_ece_rise: Share = _gate("max_ece_rise")
    gate_min_specimens: NonNegativeInt = _gate("min_specimens")
    gate_min_shadow_frames: NonNegativeInt = _gate("min_shadow_frames")
    gate_max_shadow_disagreement: Share = _gate("max_shadow_disagreement")
    gate_max_shadow_unmatched: Share = _gate("max_shadow_unmatched")
    gate_max_shadow_verdicts: Share = _gate("max_shadow_verdicts")

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key")
        if not (contract.is_loopback(self.host) or self.insecure or (self.tls_cert and self.tokens)):
            raise ValueError(f"listening at {self.host} needs tls_cert, tls_key and tokens, or insecure")
        return self

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        for key in (self.session_key, self.previous_session_key):
            if key is not None and len(key.get_secret_value()) < SHORTEST_KEY:
                raise ValueError(f"a session key has at least {SHORTEST_KEY} characters")
        if self.buffer_bytes < self.credit_bytes:
            raise ValueError("buffer_bytes must hold at least credit_bytes")
        return self

    @property
    def gates(self) -> PromotionGates:
        """What a version must reach to be promoted here."""
        return PromotionGates(**{name: getattr(self, f"gate_{name}") for name in PromotionGates.model_fields})

    @property
    def exposed(self) -> bool:
        """Whether other machines reach this gateway."""
        return not contract.is_loopback(self.host)
