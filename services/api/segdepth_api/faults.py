"""What the SDK's errors are in HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager

from segdepth import errors
from segdepth_api.problems import Problem

_PROBLEMS: tuple[tuple[type[errors.SegDepthError], int, str], ...] = (
    (errors.InvalidFrame, 422, "invalid-frame"),
    (errors.UnreadableFile, 422, "unreadable-file"),
    (errors.OutsideDomain, 422, "outside-domain"),
    (errors.UnknownModel, 404, "unknown-model"),
    (errors.NotAuthenticated, 401, "not-authenticated"),
    (errors.NotPermitted, 403, "not-permitted"),
    (errors.Overloaded, 429, "too-many-requests"),
    (errors.TimedOut, 504, "timed-out"),
    (errors.InsecureToken, 502, "insecure-gateway"),
    (errors.Unavailable, 503, "unavailable"),
    (errors.NotSupported, 501, "not-supported"),
    (errors.SegDepthError, 502, "gateway-fault"),
)
"""The first type that fits decides."""

UNAVAILABLE_RETRY_S = 5.0
"""A gateway that is being replaced is back within seconds."""


@contextmanager
def as_problems() -> Iterator[None]:
    """Turn errors of the SDK into problems."""
    try:
        yield
    except errors.SegDepthError as error:
        raise problem(error) from error


def problem(error: errors.SegDepthError) -> Problem:
    """An error of the SDK as the problem that says the same."""
    status, name = next((status, name) for kind, status, name in _PROBLEMS if isinstance(error, kind))
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    retry_after_s = None
    if isinstance(error, errors.Overloaded):
        retry_after_s = error.retry_after_s or 1.0
    elif isinstance(error, errors.Unavailable):
        retry_after_s = UNAVAILABLE_RETRY_S
    field = getattr(error, "field", "") or None
    return Problem(status, name, str(error), field=field, headers=headers, retry_after_s=retry_after_s)
