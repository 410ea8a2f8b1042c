"""What candidates did in the shadow of stable: counts of agreement by dose, which replicas keep in the store.

Each replica has an object of its own, shadow/<family>/<candidate>/<stable>/<replica>.json, with its counts since it
began, so that no two writers ever meet; who wants to know adds them up.
"""

import math
from bisect import bisect_right
from datetime import datetime
from typing import Literal, Self

import structlog
from pydantic import AwareDatetime, Field, NonNegativeInt, ValidationError

from segdepth_artefacts import names
from segdepth_artefacts.errors import ConditionFailed
from segdepth_artefacts.manifest import Strict
from segdepth_artefacts.objects import ObjectStore

log = structlog.get_logger(__name__)

FOLDER = "shadow"

EDGES = (1.0, 3.16, 10.0, 31.6, 100.0, 316.0, 1000.0, 3160.0, 10000.0)
"""Where half decades of dose end [e/Å²]."""

UNMEASURED = "unmeasured"
"""Name of the doses that nobody measured: of frames refused by their pixels alone."""


class Counts(Strict):
    """Frames that stable and the candidate both answered, and where they differ."""

    frames: NonNegativeInt = 0
    verdicts_differ: NonNegativeInt = Field(0, description="frames with another verdict: ok, suspect, refused")
    columns: NonNegativeInt = Field(0, description="columns that both found, within 0.5 Å of each other")
    counts_differ: NonNegativeInt = Field(0, description="of them with another most likely count")
    confident_columns: NonNegativeInt = Field(0, description="columns of whose count both are sure (p >= 0.9)")
    confident_differ: NonNegativeInt = Field(0, description="of them with another count")
    only_stable: NonNegativeInt = Field(0, description="columns that stable alone found")
    only_candidate: NonNegativeInt = Field(0, description="columns that the candidate alone found")

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in Counts.model_fields})

    @property
    def disagreement(self) -> float:
        """Share of the columns of which both are sure whose counts differ; NaN without any."""
        return _share(self.confident_differ, self.confident_columns)

    @property
    def unmatched(self) -> float:
        """Share of all columns that one of the two alone found; NaN without any."""
        alone = self.only_stable + self.only_candidate
        return _share(alone, self.columns + alone)

    @property
    def verdicts(self) -> float:
        """Share of frames with another verdict; NaN without any."""
        return _share(self.verdicts_differ, self.frames)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def dose_name(dose: float) -> str:
    """The half decade of a dose [e/Å²], as "100-316"; UNMEASURED for NaN."""
    if math.isnan(dose):
        return UNMEASURED
    above = bisect_right(EDGES, dose)
    lower = f"{EDGES[above - 1]:g}" if above else "0"
    return f"{lower}-{EDGES[above]:g}" if above < len(EDGES) else f"{lower}-"


def dose_order(name: str) -> float:
    """Sorts names of doses, what was not measured last."""
    return math.inf if name == UNMEASURED else float(name.partition("-")[0])


class ShadowRecord(Strict):
    """What one replica saw."""

    format: Literal[1] = 1
    family: str
    candidate: str
    stable: str
    replica: str
    since: AwareDatetime
    updated: AwareDatetime
    dropped: NonNegativeInt = Field(0, description="sampled frames that were not compared: the replica was busy")
    doses: dict[str, Counts] = Field(default_factory=dict, description="by half decade of the measured dose [e/Å²]")


class ShadowSummary(Strict):
    """What all replicas saw of a candidate in the shadow of one stable version."""

    family: str
    candidate: str
    stable: str
    replicas: NonNegativeInt = 0
    since: datetime | None = None
    updated: datetime | None = None
    dropped: NonNegativeInt = 0
    doses: dict[str, Counts] = Field(default_factory=dict)

    @property
    def total(self) -> Counts:
        """All doses together."""
        return sum(self.doses.values(), Counts())

    def with_record(self, record: ShadowRecord) -> Self:
        """The sum of this and one more replica's counts."""
        doses = dict(self.doses)
        for dose, counts in record.doses.items():
            doses[dose] = doses.get(dose, Counts()) + counts
        return self.model_copy(
            update={
                "replicas": self.replicas + 1,
                "since": min(filter(None, (self.since, record.since))),
                "updated": max(filter(None, (self.updated, record.updated))),
                "dropped": self.dropped + record.dropped,
                "doses": {dose: doses[dose] for dose in sorted(doses, key=dose_order)},
            }
        )


def read(objects: ObjectStore, family: str, candidate: str, stable: str) -> ShadowSummary:
    """The sum over all replicas; without frames if there are none. A record that cannot be read is left out."""
    folder = f"{FOLDER}/{_folder(family, candidate, stable)}"
    summary = ShadowSummary(family=family, candidate=candidate, stable=stable)
    for name in objects.children(folder):
        stored = objects.read(f"{folder}/{name}")
        if stored is None:
            continue
        try:
            summary = summary.with_record(ShadowRecord.model_validate_json(stored.data))
        except ValidationError as exc:
            log.warning("shadow record left out", store=objects.url, key=f"{folder}/{name}", problem=str(exc))
    return summary


class ShadowLog:
    """One replica's records, below the shadow folder of a store: all that its credentials need to write."""

    def __init__(self, objects: ObjectStore):
        self._objects = objects
        self._etags: dict[str, str] = {}

    def write(self, record: ShadowRecord) -> None:
        """Puts the record where the replica's earlier one of the same two versions was.

        StoreUnavailable, StoreRefused, UnsafeEndpoint.
        """
        folder = _folder(record.family, record.candidate, record.stable)
        key = f"{folder}/{names.check('replica', record.replica)}.json"
        document = record.model_dump_json(indent=1).encode() + b"\n"
        try:
            etag = self._objects.write(key, document, replaces=self._etags.get(key))
        except ConditionFailed:
            # An earlier try that was given up, and did arrive. The counts are the replica's own: the newer ones win.
            there = self._objects.read(key)
            etag = self._objects.write(key, document, replaces=there.etag if there else None)
        self._etags[key] = etag


def _folder(family: str, candidate: str, stable: str) -> str:
    candidate, stable = names.check("version", candidate), names.check("version", stable)
    return f"{names.check_family(family)}/{candidate}/{stable}"
