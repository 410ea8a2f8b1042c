"""The models that there are, which one answers, and who changed that."""

from dataclasses import dataclass
from datetime import UTC, datetime

from segdepth_protos.v1 import frame_pb2, models_pb2


@dataclass(frozen=True)
class ModelVersion:
    """The model that answered. `sha256` is that of its weights; `engine` for example torch-bf16."""

    family: str
    version: str
    sha256: str
    engine: str

    @classmethod
    def from_message(cls, model: frame_pb2.ModelVersion) -> "ModelVersion":
        """From the wire."""
        return cls(model.family, model.version, model.sha256, model.engine)


@dataclass(frozen=True)
class ModelInfo:
    """A model that the server has, the frames it takes, and whether it answers now."""

    version: ModelVersion
    created: datetime | None
    channels: tuple[str, ...]
    serving: bool
    problem: str
    sampling_range_A: tuple[float, float]
    field_lower_A: float
    description: str

    @classmethod
    def from_message(cls, model: models_pb2.Model) -> "ModelInfo":
        """From the wire."""
        return cls(
            version=ModelVersion.from_message(model.version),
            created=model.created.ToDatetime(UTC) if model.HasField("created") else None,
            channels=tuple(model.channels),
            serving=model.serving,
            problem=model.problem,
            sampling_range_A=(model.sampling_lower_angstrom_per_px, model.sampling_upper_angstrom_per_px),
            field_lower_A=model.field_lower_angstrom,
            description=model.description,
        )


@dataclass(frozen=True)
class ChannelChange:
    """Who pointed a channel at which version, when and why."""

    family: str
    channel: str
    from_version: str
    to_version: str
    time: datetime
    principal: str
    reason: str
    forced: bool

    @classmethod
    def from_message(cls, change: models_pb2.ChannelChange) -> "ChannelChange":
        """From the wire."""
        return cls(
            change.family,
            change.channel,
            change.from_version,
            change.to_version,
            change.time.ToDatetime(UTC),
            change.principal,
            change.reason,
            change.forced,
        )
