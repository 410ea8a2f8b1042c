"""A made-up specimen that drifts, turns and hops: frames of it, and answers to them as a model would give them.

    specimen = Specimen(side_A=30, size_px=160, sampling_A=0.2)
    answer, image = specimen.shot(0, drift_A=(1.2, 0.0))

Answers are told from the truth and noise: no model is asked. Every number follows from the seed and the frame's number.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segdepth.models import ModelVersion, PoolingNumbers
from segdepth.results import FrameResult
from segdepth.tracks import TrackedFrame, Tracker, Tracking
from segdepth_protos import contract
from segdepth_protos.v1 import frame_pb2

SPACING_A = 2.7
WIDE_A = 0.45
"""Standard deviation of a column's peak."""

PER_ATOM = 0.12
"""Of the vacuum's intensity, what an atom adds to the middle of its column."""

MODEL = frame_pb2.ModelVersion(family="made-up", version="1", sha256="cd" * 32, engine="none")
PRIOR = np.random.default_rng(1).dirichlet(np.full(contract.CLASSES, 20.0), 2)
NUMBERS = PoolingNumbers(tuple(map(tuple, PRIOR.tolist())), (100.0, 1000.0), (0.4, 0.4), 0.02, 0.4)


@dataclass
class Specimen:
    """A square lattice of Ce and O in turn, of so large a side, in the middle of a field of size_px pixels.

    posterior_sigma: how far a frame's expected count is off [atoms]; position_sigma_A: the same of a column's position;
    dose: e/Å² of a frame; missed: share of the columns that a frame does not find.
    """

    side_A: float = 26.0
    size_px: int = 160
    sampling_A: float = 0.2
    seed: int = 0
    posterior_sigma: float = 0.4
    position_sigma_A: float = 0.05
    dose: float = 1000.0
    missed: float = 0.0
    spacing_A: float = SPACING_A
    model: frame_pb2.ModelVersion = field(default_factory=lambda: MODEL)

    def __post_init__(self) -> None:
        middle_A = (self.size_px - 1) * self.sampling_A / 2
        across = int(self.side_A / self.spacing_A) + 1
        steps_A = (np.arange(across) - (across - 1) / 2) * self.spacing_A
        y_A, x_A = np.meshgrid(steps_A, steps_A, indexing="ij")
        self.middle_A = np.full(2, middle_A)
        self.xy_A = np.column_stack([x_A.ravel(), y_A.ravel()]) + middle_A
        """Of each column without drift [n, 2]."""
        rows, columns = np.divmod(np.arange(across**2), across)
        self.species = (1 + (rows + columns) % 2).astype(np.uint8)
        self.atoms = np.random.default_rng([self.seed, 5]).integers(3, 8, len(self.xy_A))

    def positions_A(self, drift_A: tuple[float, float] = (0.0, 0.0), turn_deg: float = 0.0) -> NDArray[np.float64]:
        """Of each column in a frame [n, 2]: turned about the middle of the field, from x towards y."""
        cos, sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
        return np.asarray((self.xy_A - self.middle_A) @ np.array([[cos, sin], [-sin, cos]]) + self.middle_A + drift_A)

    def shot(
        self,
        sequence: int,
        drift_A: tuple[float, float] = (0.0, 0.0),
        turn_deg: float = 0.0,
        atoms: NDArray[np.int64] | None = None,
    ) -> tuple[FrameResult, NDArray[np.uint16]]:
        """A frame and the answer to it."""
        atoms = self.atoms if atoms is None else atoms
        xy_A = self.positions_A(drift_A, turn_deg)
        rng = np.random.default_rng([self.seed, sequence])
        image = rng.poisson(self.intensity(xy_A, atoms) * self.dose * self.sampling_A**2).astype(np.uint16)
        return self.answer(sequence, xy_A, atoms, rng), image

    def intensity(self, xy_A: NDArray[np.float64], atoms: NDArray[np.int64]) -> NDArray[np.float64]:
        """Noise-free image, vacuum = 1."""
        pixels_A = np.arange(self.size_px) * self.sampling_A
        across = np.exp(-0.5 * ((pixels_A - xy_A[:, :1]) / WIDE_A) ** 2)
        down = np.exp(-0.5 * ((pixels_A - xy_A[:, 1:]) / WIDE_A) ** 2)
        return np.asarray(1 + PER_ATOM * (down * atoms[:, None]).T @ across)

    def answer(
        self,
        sequence: int,
        xy_A: NDArray[np.float64],
        atoms: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> FrameResult:
        """What a model says of a frame whose columns stand there, of those in the field but for some that it misses."""
        xy_A = xy_A + rng.normal(0, self.position_sigma_A, xy_A.shape)
        expected = atoms + rng.normal(0, self.posterior_sigma, len(atoms))
        side_A = (self.size_px - 1) * self.sampling_A
        found = ((xy_A >= 0) & (xy_A <= side_A)).all(axis=1) & (rng.random(len(atoms)) >= self.missed) & (atoms > 0)
        return answered(
            sequence,
            xy_A[found],
            self.species[found],
            gaussian(expected[found]),
            (self.size_px, self.size_px),
            self.sampling_A,
            self.model,
        )


def gaussian(expected: NDArray[np.float64], sigma: float = 0.8) -> NDArray[np.float32]:
    """Posteriors [n, 11] about expected counts."""
    log = -0.5 * ((np.arange(contract.CLASSES) - expected[:, None]) / sigma) ** 2
    likely = np.exp(log - log.max(axis=1, keepdims=True, initial=-np.inf))
    return (likely / likely.sum(axis=1, keepdims=True)).astype(np.float32)


def answered(
    sequence: int,
    xy_A: NDArray[np.float64],
    species: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    shape: tuple[int, int],
    sampling_A: float,
    model: frame_pb2.ModelVersion = MODEL,
) -> FrameResult:
    """The message of a frame that shows these columns, sorted as a service sorts them."""
    order = np.lexsort((xy_A[:, 0], xy_A[:, 1]))
    message = frame_pb2.FrameResult(sequence=sequence, height=shape[0], width=shape[1], model=model)
    message.calibration.sampling_angstrom_per_px = sampling_A
    message.domain.status = frame_pb2.DOMAIN_STATUS_OK
    message.domain.checks.add(name="snr", status=frame_pb2.DOMAIN_STATUS_OK, value=500.0, unit="e/Å²")
    table = message.columns
    table.size = len(order)
    table.x_px = (xy_A[order, 0] / sampling_A).astype("<f4").tobytes()
    table.y_px = (xy_A[order, 1] / sampling_A).astype("<f4").tobytes()
    table.species = species[order].astype("u1").tobytes()
    count = probabilities[order].argmax(axis=1) if len(order) else np.zeros(0)
    table.count = table.lo90 = table.hi90 = count.astype("u1").tobytes()
    table.abstained = bytes(len(order))
    table.probabilities = probabilities[order].astype("<f4").tobytes()
    return FrameResult(message)


def refused(sequence: int, shape: tuple[int, int] = (160, 160), sampling_A: float = 0.2) -> FrameResult:
    """The answer to a frame outside of the model's domain."""
    message = frame_pb2.FrameResult(sequence=sequence, height=shape[0], width=shape[1], model=MODEL)
    message.calibration.sampling_angstrom_per_px = sampling_A
    message.domain.status = frame_pb2.DOMAIN_STATUS_REFUSED
    message.domain.checks.add(
        name="pixels", status=frame_pb2.DOMAIN_STATUS_REFUSED, value=0, lower=1, unit="counts", message="all are zero"
    )
    return FrameResult(message)


def tracker(settings: Tracking | None = None, model: frame_pb2.ModelVersion = MODEL) -> Tracker:
    """One that knows the model's numbers. Sums are not asked about."""
    made = Tracker(settings or Tracking(summed_frames=0))
    made.learn(ModelVersion.from_message(model), NUMBERS)
    return made


def live(hop_rate: float = 1 / 2000) -> Tracking:
    """Settings of a tracker that tells each frame at once, without sums."""
    return Tracking(lag_frames=0, summed_frames=0, hop_rate=hop_rate)


def tracks_of(
    specimen: Specimen, frame: TrackedFrame, drift_A: tuple[float, float] = (0.0, 0.0), turn_deg: float = 0.0
) -> dict[int, int]:
    """Which track each column of the specimen is in a frame, of those that have one within 0.5 Å."""
    columns = frame.columns
    assert columns is not None
    x_A, y_A = specimen.positions_A(drift_A, turn_deg).T
    away_A = np.hypot(columns.x_A[:, None] - x_A, columns.y_A[:, None] - y_A)
    near = away_A.argmin(axis=1)
    return {
        int(column): int(track)
        for track, column, distance_A in zip(columns.track, near, away_A.min(axis=1), strict=True)
        if distance_A < 0.5
    }
