"""EPICS PV Access, the serving side: frames as a camera's channel, results as tables. Needs p4p (`segdepth[pva]`)."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from segdepth.arguments import image_array, text, whole
from segdepth.errors import InvalidFrame, NotInstalled, Unavailable
from segdepth.live.account import FrameAccount
from segdepth.results import Answer, FrameResult, Gap, Status

try:
    from p4p import Value
    from p4p.nt import NTNDArray, NTTable
    from p4p.server import Server
    from p4p.server.thread import SharedPV
except ImportError as error:
    raise NotInstalled("EPICS PV Access needs: pip install 'segdepth[pva]'") from error

LOOPBACK = "127.0.0.1"

_UNION = {
    "b1": "booleanValue",
    "i1": "byteValue",
    "i2": "shortValue",
    "i4": "intValue",
    "i8": "longValue",
    "u1": "ubyteValue",
    "u2": "ushortValue",
    "u4": "uintValue",
    "u8": "ulongValue",
    "f4": "floatValue",
    "f8": "doubleValue",
}
"""Members of the union `value` of an NTNDArray by the type of the pixels."""

_FRAME = NTNDArray().type

_COLUMNS = {
    "frame": "l",
    "x_px": "f",
    "y_px": "f",
    "x_A": "d",
    "y_A": "d",
    "species": "s",
    "count": "i",
    "p_count": "f",
    "lo90": "i",
    "hi90": "i",
    "abstained": "?",
    "status": "s",
}
"""Fields of columns.csv, with the types that PV Access has for them."""

_ANSWERS = NTTable(list(_COLUMNS.items())).type
_ACCOUNT = NTTable([("what", "s"), ("frames", "l")]).type

_NO_ALARM, _MINOR, _MAJOR, _INVALID = range(4)
"""Severities of an EPICS alarm."""
_SEVERITIES = {Status.OK: _NO_ALARM, Status.SUSPECT: _MINOR, Status.REFUSED: _MAJOR}

_CLIENT = 7
"""The status of an EPICS alarm that is not of a device or a record."""


class Served(Protocol):
    """What a PvaServer serves."""

    def channels(self) -> Mapping[str, Any]:
        """p4p's SharedPV of each channel, by its name."""


class FrameChannel:
    """Frames under one name, as areaDetector's NDPluginPva serves them: NTNDArray, x first, not compressed.

    Nobody sees the channel before its first frame. Clients that are slower than the frames lose some, which they see
    by `uniqueId`.
    """

    def __init__(self, name: str):
        self.name = _channel_name(name)
        self._pv = SharedPV()

    def post(
        self,
        image: NDArray[Any],
        unique_id: int,
        capture_time: datetime | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Serve the next frame; its pixels are copied.

        image: array [height, width] of integers, f16 (sent as f32), f32 or f64; unique_id: its number, the camera's
        own, of which 31 bits are sent; capture_time: by default now; attributes: numbers and strings by name, for
        example `frame_attributes.attributes_of(calibration)`. Raises InvalidFrame.
        """
        pixels = image_array(image)
        if pixels.dtype.str[1:] == "f2":
            pixels = pixels.astype(np.float32)
        member = _UNION.get(pixels.dtype.str[1:])
        if pixels.ndim != 2 or member is None:
            raise InvalidFrame(f"image: {pixels.dtype} {pixels.shape} is not a frame [height, width]", "image")
        stamp = _stamp(capture_time, whole(unique_id, "unique_id") & 0x7FFFFFFF)
        value = Value(
            _FRAME,
            {
                "value": (member, pixels.ravel()),
                "codec": {"name": ""},
                "compressedSize": pixels.nbytes,
                "uncompressedSize": pixels.nbytes,
                "uniqueId": stamp["userTag"],
                "dataTimeStamp": stamp,
                "timeStamp": stamp,
                "dimension": [_dimension(size) for size in reversed(pixels.shape)],
                "attribute": [_attribute(name, said) for name, said in {"ColorMode": 0, **(attributes or {})}.items()],
            },
        )
        _show(self._pv, value)

    def close(self) -> None:
        """Disconnect the channel's clients, as a camera that is switched off; the next `post` opens it again."""
        if self._pv.isOpen():
            self._pv.close()

    def channels(self) -> Mapping[str, Any]:
        """The channel by its name."""
        return {self.name: self._pv}


class ResultTable:
    """The latest answer as an NTTable under `name`, with the fields of columns.csv; the account under NAME:Account.

    A refused frame has no rows and a MAJOR alarm, a suspect one a MINOR alarm, each with the reason as its message; a
    run of frames without an answer leaves the rows of the last one with an INVALID alarm. The time is that of the
    answer, its userTag the frame's number.
    """

    def __init__(self, name: str):
        self.name = _channel_name(name)
        self._table, self._account = SharedPV(), SharedPV()
        self._last = 0
        nothing = _alarm(_INVALID, "no frame has been answered yet", self._last)
        _show(self._table, _table(_ANSWERS, _COLUMNS, descriptor="columns of the latest answered frame", **nothing))
        self.account(FrameAccount())

    def add(self, answer: Answer) -> None:
        """Serve the next answer."""
        self._last = answer.last if isinstance(answer, Gap) else answer.sequence
        if isinstance(answer, Gap):
            numbers = f"{answer.first}" if len(answer) == 1 else f"{answer.first}-{answer.last}"
            why = f": {answer.detail}" if answer.detail else ""
            value = Value(
                _ANSWERS, _alarm(_INVALID, f"no answer to {numbers}, {answer.reason.value}{why}", answer.last)
            )
        else:
            value = _columns(answer)
        _show(self._table, value)

    def away(self, why: str) -> None:
        """Nobody answers at the moment: the last rows with an INVALID alarm, until the next answer."""
        _show(self._table, Value(_ANSWERS, _alarm(_INVALID, why, self._last)))

    def account(self, account: FrameAccount) -> None:
        """Serve what became of the frames so far: rows `what`, `frames`."""
        told = account.as_dict()
        rows = {"seen": told["seen"], "sent": told["sent"], "under way": told["under_way"]}
        rows |= {f"answered: {status}": frames for status, frames in told["answered"].items()}
        rows |= {f"dropped: {reason}": frames for reason, frames in told["dropped"].items()}
        columns = {"what": list(rows), "frames": np.fromiter(rows.values(), np.int64, len(rows))}
        _show(self._account, _table(_ACCOUNT, columns, **_alarm(_NO_ALARM, "", told["seen"])))

    def channels(self) -> Mapping[str, Any]:
        """Both channels by their names."""
        return {self.name: self._table, f"{self.name}:Account": self._account}


class PvaServer:
    """Serves channels until it is closed, on loopback unless another address is asked for.

    address: of the interfaces to serve on, separated by spaces; port, search_port: of TCP and of UDP, None for those of
    the environment (EPICS_PVAS_SERVER_PORT, EPICS_PVAS_BROADCAST_PORT) or EPICS' own 5075 and 5076, 0 for free ones.
    Raises Unavailable where it cannot serve there.
    """

    def __init__(
        self, *served: Served, address: str = LOOPBACK, port: int | None = None, search_port: int | None = None
    ):
        # p4p lets the environment win over conf: what is asked for here must not be overridden there.
        conf = {name: value for name, value in os.environ.items() if name.startswith("EPICS_PVA")}
        conf["EPICS_PVAS_INTF_ADDR_LIST"] = text(address, "address")
        if address == LOOPBACK:
            # Nothing of it on the network: no beacons either.
            conf |= {"EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO", "EPICS_PVAS_BEACON_ADDR_LIST": LOOPBACK}
        if port is not None:
            conf["EPICS_PVAS_SERVER_PORT"] = f"{port}"
        if search_port is not None:
            conf["EPICS_PVAS_BROADCAST_PORT"] = f"{search_port}"
        channels = {name: pv for each in served for name, pv in each.channels().items()}
        try:
            self._server = Server(providers=[channels], conf=conf, useenv=False)
        except RuntimeError as error:
            raise Unavailable(f"PV Access cannot be served on {address}: {error}") from error

    def client_conf(self) -> dict[str, str]:
        """Settings by which a client of this machine finds the server, and nothing else."""
        return {name: value for name, value in self._server.conf().items() if name.startswith("EPICS_PVA_")}

    def close(self) -> None:
        """Stop serving: clients are disconnected."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _columns(result: FrameResult) -> Any:
    verdict = result.domain
    message = f"{verdict.status.value}: {verdict.why()}" if verdict.status is not Status.OK else ""
    return _table(_ANSWERS, result.fields(), **_alarm(_SEVERITIES[verdict.status], message, result.sequence))


def _table(kind: Any, columns: Mapping[str, Any], **more: Any) -> Any:
    """An NTTable of arrays or lists of equal length; without any, the names alone."""
    known = {name: _as_listed(values) for name, values in columns.items() if not isinstance(values, str)}
    return Value(kind, {"labels": list(columns), "value": known, **more})


def _as_listed(values: Any) -> Any:
    # PV Access has no arrays of numpy's strings.
    return values.tolist() if isinstance(values, np.ndarray) and values.dtype.kind == "U" else values


def _alarm(severity: int, message: str, number: int) -> dict[str, Any]:
    alarm = {"severity": severity, "status": _CLIENT if severity else 0, "message": message}
    return {"alarm": alarm, "timeStamp": _stamp(None, number & 0x7FFFFFFF)}


def _stamp(time: datetime | None, tag: int) -> dict[str, int]:
    nanoseconds = round((time or datetime.now(UTC)).timestamp() * 1e6) * 1000
    return {"secondsPastEpoch": nanoseconds // 10**9, "nanoseconds": nanoseconds % 10**9, "userTag": tag}


def _dimension(size: int) -> dict[str, Any]:
    return {"size": size, "offset": 0, "fullSize": size, "binning": 1, "reverse": False}


def _attribute(name: str, said: Any) -> dict[str, Any]:
    return {"name": name, "value": said.item() if isinstance(said, np.generic) else said}


def _show(pv: Any, value: Any) -> None:
    if pv.isOpen():
        pv.post(value)
    else:
        pv.open(value)


def _channel_name(name: str) -> str:
    if not text(name, "name") or any(letter.isspace() for letter in name):
        raise InvalidFrame(f"name: {name!r} is not the name of a channel, such as CAM1:Pva1:Image", "name")
    return name
