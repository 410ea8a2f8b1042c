"""The null model: a Serve replica in a process of its own that reads every byte and returns 150 columns."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth_protos import contract
from segdepth_protos.v1 import frame_pb2
from segdepth_stack.environment import environment

COLUMNS = 150
ROOT = Path(__file__).parents[3]
APP = "null"


def words_sum(frame: NDArray[Any]) -> int:
    """Sum of a frame's 8-byte words, modulo 2^64: every byte counts."""
    return int(frame.reshape(-1).view(np.uint64).sum())


class NullModel:
    """Its answers carry the sum in the first two positions."""

    def __init__(self) -> None:
        table = frame_pb2.ColumnTable(size=COLUMNS)
        for name in ("x_px", "y_px"):
            setattr(table, name, np.arange(COLUMNS, dtype=np.float32).tobytes())
        for name in ("species", "count", "lo90", "hi90", "abstained"):
            setattr(table, name, bytes(COLUMNS))
        table.probabilities = np.full((COLUMNS, contract.CLASSES), 1 / contract.CLASSES, np.float32).tobytes()
        table.x_px = b""
        model = frame_pb2.ModelVersion(family="null", version="1", sha256="0" * 64, engine="none")
        ok = frame_pb2.DomainVerdict(status=frame_pb2.DOMAIN_STATUS_OK)
        self._rest = frame_pb2.FrameResult(model=model, domain=ok, columns=table).SerializeToString()
        self._x_px = np.arange(COLUMNS, dtype=np.float32).tobytes()[8:]

    async def estimate(
        self, pixels: list[NDArray[Any]], calibrations: list[bytes], options: bytes
    ) -> tuple[list[bytes], list[int]]:
        """150 columns for each frame."""
        return [self._answer(frame) for frame in pixels], [frame_pb2.DOMAIN_STATUS_OK] * len(pixels)

    def _answer(self, frame: NDArray[Any]) -> bytes:
        table = frame_pb2.ColumnTable(x_px=words_sum(frame).to_bytes(8, "little") + self._x_px)
        own = frame_pb2.FrameResult(height=frame.shape[0], width=frame.shape[1], columns=table)
        return self._rest + own.SerializeToString()  # appended, so merged by who reads it

    async def status(self) -> dict[str, Any]:
        """Always ready."""
        return {"ready": True, "family": "null", "version": "1", "best_batch": 64}


@contextmanager
def served(**settings: Any) -> Iterator[int]:
    """Gateway and null model on a Ray like the stack's; yields the gateway's port."""
    os.environ |= environment()  # Before Ray is imported: it reads its environment then.
    import ray
    from ray import serve

    from segdepth_gateway.deployment import RESOURCE, deployment
    from segdepth_gateway.settings import GatewaySettings

    ray.init(
        address="local",
        num_cpus=2,
        resources={RESOURCE: 1},
        include_dashboard=False,
        object_store_memory=512 * 1024 * 1024,
        logging_level="WARNING",
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    try:
        serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
        model = serve.deployment(name="estimator", max_ongoing_requests=8, ray_actor_options={"num_cpus": 0})(NullModel)
        gateway = deployment(GatewaySettings(port=0, metrics_port=None, app=APP, **settings), model.bind())
        handle = serve.run(gateway, name=APP, route_prefix=None)
        yield handle.port.remote().result()
    finally:
        serve.shutdown()
        ray.shutdown()
