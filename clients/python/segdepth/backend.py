"""Local mode: a model in this process, found through the entry point group `segdepth.backends`."""

from collections.abc import Iterator
from importlib.metadata import entry_points
from inspect import signature
from typing import Any, Protocol

from segdepth.errors import InvalidType, NotInstalled, Unavailable
from segdepth_protos.v1 import estimator_pb2, frame_pb2, models_pb2

GROUP = "segdepth.backends"


class Backend(Protocol):
    """What answers in this process. Speaks the wire's messages, so that local and remote are decoded alike.

    Raises contract.InvalidFrame and contract.UnknownModel.
    """

    def estimate(self, request: estimator_pb2.EstimateRequest, timeout_s: float) -> estimator_pb2.EstimateResponse:
        """Answer one frame."""

    def stream(self, opening: estimator_pb2.Open, frames: Iterator[frame_pb2.Frame]) -> Iterator[estimator_pb2.Answer]:
        """Answer frames in order, each sequence number once: a result or a gap."""

    def list_models(self, request: models_pb2.ListModelsRequest, timeout_s: float) -> models_pb2.ListModelsResponse:
        """The models of the store."""

    def close(self) -> None:
        """Give back what it holds."""


def check_installed(name: str) -> None:
    """NotInstalled, with what to do, if there is no backend of that name. Imports nothing."""
    if not entry_points(group=GROUP, name=name):
        raise NotInstalled(
            "local mode needs the model's own package: pip install 'segdepth[local]', "
            'or connect to a server: segdepth.connect("host:port")'
        )


def load_backend(name: str, **options: Any) -> Backend:
    """The backend of that name, ready to answer.

    NotInstalled if it is not there, Unavailable if it has no model, InvalidType for options that it does not have.
    """
    check_installed(name)
    (entry_point,) = entry_points(group=GROUP, name=name)
    try:
        factory = entry_point.load()
    except ImportError as error:
        raise NotInstalled(f"local mode cannot start ({error}): pip install 'segdepth[local]'") from error
    try:
        signature(factory).bind(**options)
    except TypeError as error:
        raise InvalidType(f"local mode takes {', '.join(signature(factory).parameters)}: {error}") from None
    try:
        backend: Backend = factory(**options)
    except Exception as error:
        # No store, no model in it, a damaged one: whatever it is, there is no model to ask.
        raise Unavailable(f"local mode cannot start: {error}") from error
    return backend
