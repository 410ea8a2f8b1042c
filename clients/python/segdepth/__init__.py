"""Atom counts per column from noisy high-resolution TEM frames: SDK and command line.

import segdepth

with segdepth.connect("127.0.0.1:50051") as client:
    result = client.estimate(image, 0.1)  # Å/px
    for answer in client.stream(movie, 0.1):
        ...
"""

from segdepth.account import Account
from segdepth.async_client import AsyncClient, AsyncStream
from segdepth.backoff import Patience
from segdepth.calibration import Calibration, Detail, Frame, Options
from segdepth.client import Client, Stream
from segdepth.connect import connect, connect_async
from segdepth.detector import BadPixels, Detector
from segdepth.errors import SegDepthError
from segdepth.lattice import LatticeSampling, NoLattice, lattice_sampling
from segdepth.models import PoolingNumbers, numbers_of
from segdepth.results import (
    Answer,
    ChannelChange,
    Check,
    Columns,
    DomainVerdict,
    FrameResult,
    Gap,
    GapReason,
    ModelInfo,
    ModelVersion,
    Shadow,
    ShadowCounts,
    Status,
)
from segdepth.security import TLS
from segdepth.streaming.outages import Outage
from segdepth.tables import Table, table
from segdepth.tracks import Change, TrackedColumns, TrackedFrame, Tracker, Tracking, TrackState

__all__ = [
    "connect",
    "connect_async",
    "Client",
    "Stream",
    "AsyncClient",
    "AsyncStream",
    "Calibration",
    "Detector",
    "BadPixels",
    "Frame",
    "Options",
    "Detail",
    "Answer",
    "FrameResult",
    "Columns",
    "DomainVerdict",
    "Check",
    "Status",
    "Gap",
    "GapReason",
    "Change",
    "TrackState",
    "TrackedColumns",
    "TrackedFrame",
    "Tracker",
    "Tracking",
    "Table",
    "table",
    "ModelVersion",
    "ModelInfo",
    "PoolingNumbers",
    "numbers_of",
    "Shadow",
    "ShadowCounts",
    "ChannelChange",
    "Account",
    "lattice_sampling",
    "LatticeSampling",
    "NoLattice",
    "Patience",
    "Outage",
    "TLS",
    "SegDepthError",
]
