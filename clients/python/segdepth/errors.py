"""Everything that can go wrong, one type each, the same in process and over the wire."""

from typing import Any

import grpc

from segdepth_protos import contract


class SegDepthError(Exception):
    """Base of all errors of this package."""

    retry_after_s: float | None = None
    """When to try again [s], where the server says so: of Overloaded and Unavailable."""


class InvalidFrame(SegDepthError, ValueError):
    """Not a frame, or not a request. `field` names the culprit, the message says what would be right."""

    def __init__(self, message: str, field: str = ""):
        super().__init__(message)
        self.field = field


class InvalidType(InvalidFrame, TypeError):
    """A value of a type that cannot be what it is given for. The message says what would be right."""


class NoFrame(InvalidFrame, IndexError):
    """A movie has no frame of that number. The message says which there are."""


class UnknownModel(SegDepthError, LookupError):
    """No such model family or version. The message says which there are."""


class UnknownJob(SegDepthError, LookupError):
    """No such batch job of this caller, or no such model for one."""


class OutsideDomain(SegDepthError):
    """The frame is outside what the model was trained for, and `strict` was set."""


class GateRefused(SegDepthError):
    """A gate refuses to promote this version, or there is nothing to roll back to."""


class Conflict(SegDepthError):
    """Somebody else changed the channel meanwhile. Look again, then decide again."""


class NotAuthenticated(SegDepthError):
    """No token, or one that the server does not know."""


class NotPermitted(SegDepthError):
    """The token is known but lacks the scope."""


class InsecureToken(SegDepthError, ValueError):
    """A token would travel in plaintext to another machine."""


class Overloaded(SegDepthError):
    """The server is full. Try again after `retry_after_s` [s]."""

    def __init__(self, message: str, retry_after_s: float | None = None):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TimedOut(SegDepthError, TimeoutError):
    """No answer before the deadline."""


class Unavailable(SegDepthError, ConnectionError):
    """The server cannot be reached, or no model answers there yet. Try again, after `retry_after_s` [s] if known."""

    def __init__(self, message: str, retry_after_s: float | None = None):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServerFault(SegDepthError):
    """The server failed or broke the contract; its own log says more."""


class NotSupported(SegDepthError):
    """The server, or local mode, does not have this call."""


class NotInstalled(SegDepthError, ImportError):
    """A part of SegDepth that is not installed. The message says how to install it."""


class UnreadableFile(SegDepthError, ValueError):
    """Not a movie: wrong format, truncated, or without a usable calibration."""


class CannotWrite(SegDepthError, OSError):
    """The results cannot be written: no space, no permission, no such folder."""


_BY_STATUS: dict[grpc.StatusCode, type[SegDepthError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidFrame,
    grpc.StatusCode.OUT_OF_RANGE: InvalidFrame,
    grpc.StatusCode.NOT_FOUND: UnknownModel,
    grpc.StatusCode.FAILED_PRECONDITION: OutsideDomain,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.UNAUTHENTICATED: NotAuthenticated,
    grpc.StatusCode.PERMISSION_DENIED: NotPermitted,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    # Sent by a server that goes down.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.UNIMPLEMENTED: NotSupported,
}

PERMANENT = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Statuses that opening the stream again cannot mend."""

RETRY_AFTER_KEY = "retry-after-ms"
"""Trailing metadata of RESOURCE_EXHAUSTED: when to try again [ms]."""


def from_status(code: grpc.StatusCode, detail: str | None, trailing: Any = ()) -> SegDepthError:
    """A failed call as the error of this package that says the same."""
    message = detail or code.name
    kind = _BY_STATUS.get(code, ServerFault)
    if kind is InvalidFrame:
        return InvalidFrame(message, field=_field(message))
    if kind is Overloaded:
        return Overloaded(message, retry_after_s=_retry_after_s(trailing))
    if kind is Unavailable and "failed to connect" in message:
        # Words of gRPC, for somebody who may have mistyped a port.
        return Unavailable(f"{message}; no gateway listens there: check address and port, and that it runs")
    return kind(message)


def _retry_after_s(trailing: Any) -> float | None:
    for key, value in trailing or ():
        if key == RETRY_AFTER_KEY and str(value).isdigit():
            return int(value) / 1000
    return None


def from_contract(error: Exception) -> SegDepthError:
    """What went wrong in this process, as the error that a server would have caused."""
    match error:
        case SegDepthError():
            return error
        case contract.InvalidFrame():
            return InvalidFrame(str(error), field=error.field)
        case contract.UnknownModel():
            return UnknownModel(str(error))
        case contract.OutsideDomain():
            return OutsideDomain(str(error))
        case TimeoutError():
            return TimedOut(str(error) or "no answer before the deadline")
        case _:
            return ServerFault(f"{type(error).__name__}: {error}")


def _field(detail: str) -> str:
    field, colon, _ = detail.partition(": ")
    return field if colon and " " not in field.replace(", ", ",") else ""
