"""The models that there are, which one answers, and who changed that."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime

import numpy as np

from segdepth.errors import NotSupported
from segdepth_protos import contract
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

    def __str__(self) -> str:
        return f"{self.family} {self.version} ({self.engine})"

    def __repr__(self) -> str:
        return (
            f"ModelVersion(family={self.family!r}, version={self.version!r}, sha256='{self.sha256[:8]}…',"
            f" engine={self.engine!r})"
        )


@dataclass(frozen=True)
class ShadowCounts:
    """Frames of one range of `dose` [e/Å²] that a candidate answered as well as stable did, and where they differ."""

    dose: str
    frames: int
    verdicts_differ: int
    columns: int
    counts_differ: int
    confident_columns: int
    """Columns of whose count both are sure (probability 0.9 or more)."""
    confident_differ: int
    only_stable: int
    only_candidate: int

    @classmethod
    def from_message(cls, counts: models_pb2.ShadowCounts) -> "ShadowCounts":
        """From the wire."""
        return cls(**{one.name: getattr(counts, one.name) for one in fields(cls)})


@dataclass(frozen=True)
class Shadow:
    """What replicas saw of a candidate, which answers a sample of the frames again, unseen, beside `stable`."""

    stable: str
    since: datetime | None
    updated: datetime | None
    replicas: int
    frames_dropped: int
    """Sampled, but not compared because the replica was busy."""
    doses: tuple[ShadowCounts, ...]

    @property
    def frames(self) -> int:
        """Frames compared, of all doses."""
        return sum(counts.frames for counts in self.doses)

    @classmethod
    def from_message(cls, shadow: models_pb2.Shadow) -> "Shadow":
        """From the wire."""
        return cls(
            stable=shadow.stable,
            since=shadow.since.ToDatetime(UTC) if shadow.HasField("since") else None,
            updated=shadow.updated.ToDatetime(UTC) if shadow.HasField("updated") else None,
            replicas=shadow.replicas,
            frames_dropped=shadow.frames_dropped,
            doses=tuple(ShadowCounts.from_message(counts) for counts in shadow.doses),
        )


@dataclass(frozen=True)
class PoolingNumbers:
    """A model's own numbers for what several frames say of a column together (segdepth_protos.pooling)."""

    prior: tuple[tuple[float, ...], ...]
    """Of each species: probability of each class."""
    dose: tuple[float, ...]
    """e/Å² of a frame, ascending."""
    correlation: tuple[float, ...]
    """Of the model's error between frames, at each dose."""
    hop: float
    """Of no effect: `Tracking` says how probably a column changes."""
    abstain_below: float

    def correlation_at(self, dose: float) -> float:
        """Linear in the logarithm of the dose [e/Å²] between those known, constant beyond."""
        return float(np.interp(math.log(max(dose, 1e-9)), np.log(self.dose), self.correlation))

    @classmethod
    def from_message(cls, message: models_pb2.Pooling) -> "PoolingNumbers":
        """From the wire."""
        return cls(
            prior=tuple(map(tuple, np.array(message.prior, float).reshape(-1, contract.CLASSES).tolist())),
            dose=tuple(message.dose_electrons_per_angstrom2),
            correlation=tuple(message.correlation),
            hop=message.hop,
            abstain_below=message.abstain_below,
        )


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
    shadow: Shadow | None = field(default=None, repr=False)
    """What replicas saw of it in the shadow of stable, if it is the candidate."""
    pooling: PoolingNumbers | None = field(default=None, repr=False)
    """How its answers combine over the frames of a movie, if it can tell."""
    forced: str = ""
    """Why `stable` points at it against the gates, with what they refused; empty where they were passed."""
    assumes: str = ""
    """What it assumes of the instrument, in words; empty from servers that do not say."""

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
            shadow=Shadow.from_message(model.shadow) if model.HasField("shadow") else None,
            pooling=PoolingNumbers.from_message(model.pooling) if model.HasField("pooling") else None,
            forced=model.forced,
            assumes=model.assumes,
        )


def numbers_of(models: Iterable[ModelInfo], version: ModelVersion) -> PoolingNumbers:
    """The numbers of the model that answered. Raises NotSupported where it has none."""
    for info in models:
        if (info.version.family, info.version.version) == (version.family, version.version) and info.pooling:
            return info.pooling
    raise NotSupported(
        f"{version.family} {version.version} was released without what tracking needs; calibrate and release it anew"
        " (segdepth-train calibrate), or take the frames one by one"
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
