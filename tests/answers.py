"""Answers to a frame as a service would send them, for tests of what is made of them."""

from pathlib import Path

import numpy as np

from segdepth.files import Movie, open_movie
from segdepth.results import FrameResult
from segdepth_protos import contract
from segdepth_protos.v1 import frame_pb2

SHAPE = (30, 40)


def result(
    sequence: int = 0,
    x: tuple[float, ...] = (12.3456, 3.0, -0.0001),
    y: tuple[float, ...] = (1.0004, 1.0001, 9.0),
    sampling_A: float = 0.123,
    *,
    refused: bool = False,
    suspect: bool = False,
    maps: bool = True,
    family: str = "f",
) -> FrameResult:
    """Three columns of five atoms: Ce, O (abstained), Ce; a refused frame has none."""
    n = 0 if refused else len(x)
    message = frame_pb2.FrameResult(sequence=sequence, height=SHAPE[0], width=SHAPE[1])
    message.model.MergeFrom(frame_pb2.ModelVersion(family=family, version="7", sha256="cd" * 32, engine="torch-fp32"))
    message.calibration.sampling_angstrom_per_px = sampling_A
    good = frame_pb2.DOMAIN_STATUS_SUSPECT if suspect else frame_pb2.DOMAIN_STATUS_OK
    message.domain.status = frame_pb2.DOMAIN_STATUS_REFUSED if refused else good
    message.domain.checks.add(
        name="snr", status=message.domain.status, value=float("nan") if refused else 3.5, lower=1.5, unit="dB"
    )
    probabilities = np.zeros((n, contract.CLASSES), "<f4")
    if n:
        probabilities[:, 4:7] = 0.25, 0.62361, 0.12639
    table = message.columns
    table.size = n
    table.x_px, table.y_px = np.array(x[:n], "<f4").tobytes(), np.array(y[:n], "<f4").tobytes()
    table.species = bytes([1, 2, 1][:n])
    table.count, table.lo90, table.hi90 = bytes([5] * n), bytes([4] * n), bytes([6] * n)
    table.abstained = bytes([0, 1, 0][:n])
    table.probabilities = probabilities.tobytes()
    if not refused:
        conditions = message.conditions
        conditions.contrast.MergeFrom(frame_pb2.Measured(value=0.5, error=0.1))
        conditions.vibration_angstrom.MergeFrom(frame_pb2.Measured(value=0.3, error=0.04))
        conditions.defocus_angstrom.MergeFrom(frame_pb2.Measured(value=46, error=6))
    if maps:
        message.depth_map = np.full(SHAPE, 255 if refused else 3, "u1").tobytes()
        message.confidence_map = np.full(SHAPE, np.nan if refused else 0.8, "<f4").tobytes()
    return FrameResult(message)


def write_movie(folder: Path, frames: int = 3, sampling_A: float = 0.123) -> Movie:
    """m.npy of noise, opened."""
    np.save(folder / "m.npy", np.random.default_rng(0).integers(0, 99, (frames, *SHAPE), dtype="u1"))
    return open_movie(folder / "m.npy", sampling_A)
