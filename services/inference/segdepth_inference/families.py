"""Families served side by side: which one's lattice does a frame show?

A caller names a family, or AUTO: then the lattice check of each family's gate is asked, and the one that it fits
answers. A frame that no family's lattice fits is refused, and so is one that fits several: nothing is guessed. Where a
named family refuses a frame for its lattice, the refusal says whose lattice it is. No lattice tells instruments apart:
a family that is adapted to one answers who names it, and none else.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import structlog
import torch

from segdepth_artefacts import ArtefactStore
from segdepth_artefacts.errors import ArtefactError, CorruptArtefact, UnknownVersion
from segdepth_artefacts.names import base_family
from segdepth_core.domain import Gate
from segdepth_core.exposure import Exposure
from segdepth_core.maps import refused_maps
from segdepth_core.prediction import Array, Check, Columns, Detail, Detector, Prediction, Status, Verdict, worst
from segdepth_core.predictor import UNKNOWN, Predictor
from segdepth_protos.contract import AUTO, UnknownModel

log = structlog.get_logger(__name__)

REFRESH_S = 30.0
"""A family new to the store is known after this long [s]."""

CHECK, LATTICE = "family", "lattice"

NEARLY_RIGHT = 0.1
"""A family whose lattice fits a frame better, at a pixel size within this of the stated one, may be what it shows."""

OWN = ("", "")
"""Family and version of a request that names neither."""


class Fit(NamedTuple):
    """How a family's lattice fits a frame: the pixel size that it implies over the stated one (NaN without a lattice),
    how clearly, and whether that is permitted."""

    family: str
    scale: float
    score: float
    fits: bool


@dataclass(frozen=True)
class Choice:
    """Who answers a frame, and the check that this was. Empty family: the service's own; no check: the caller chose."""

    family: str
    version: str = ""
    check: Check | None = None

    @property
    def model(self) -> tuple[str, str]:
        """Family and version, as a keeper of models takes them."""
        return self.family, self.version


Models = Mapping[tuple[str, str], Predictor]
"""By family and version."""


class Families:
    """The families whose stable version may answer. Methods may be called from any thread."""

    def __init__(self, store: ArtefactStore, channel: str = "stable"):
        self._store = store
        self._channel = channel
        self._gates: dict[str, Gate] = {}
        self._refreshed_at = -float("inf")
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look for families now, and from time to time until `stop`."""
        self.refresh()
        self._thread = threading.Thread(target=self._run, name="families", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopped.wait(REFRESH_S):
            self.refresh()

    def refresh(self) -> None:
        """Read which families there are, and the lattice of each. Keeps what it knows where the store does not say."""
        try:
            found = {}
            for family in self._store.families():
                gate = self._gate(family) if base_family(family) == family else None
                if gate is not None:
                    found[family] = gate
            self._gates = found
        except ArtefactError as error:
            log.warning("families.unknown", problem=str(error))
        self._refreshed_at = time.monotonic()

    def _gate(self, family: str) -> Gate | None:
        """The gate of a family, None without a lattice to tell it by. What is wrong with one concerns no other."""
        try:
            channel = self._store.channel(family, self._channel)
            if channel is None:
                return None
            manifest = self._store.manifest(family, channel.version)
        except (CorruptArtefact, UnknownVersion) as error:
            log.warning("family.unknown", family=family, problem=str(error))
            return self._gates.get(family)
        if not manifest.domain.reflections or LATTICE not in manifest.domain.checks:
            return None
        return Gate(manifest.domain, manifest.canonical_sampling_A)

    def refresh_if_old(self) -> None:
        """The same, if the last look was a while ago: for those who do not `start`."""
        if time.monotonic() - self._refreshed_at > REFRESH_S:
            self.refresh()

    def choices(
        self,
        family: str,
        version: str,
        frames: Sequence[Array],
        samplings_A: Sequence[float],
        detectors: Sequence[Detector],
    ) -> list[Choice]:
        """Who answers each of the frames [height, width] at its sampling [Å/px]: `family`, or for AUTO by its lattice.

        Raises UnknownModel for a version of AUTO.
        """
        if family != AUTO:
            return [Choice(family, version)] * len(frames)
        if version:
            raise UnknownModel(f"options.version: {version!r} of which family? name it instead of {AUTO}")
        return [self._choice(*one) for one in zip(frames, samplings_A, detectors, strict=True)]

    def _choice(self, frame: Array, sampling_A: float, detector: Detector) -> Choice:
        fits = self.fits(frame, sampling_A, detector)
        fitting = [fit.family for fit in fits if fit.fits]
        readings = _readings(fits, sampling_A)
        if len(fitting) == 1 and len(readings) == 1:
            return Choice(fitting[0], check=Check(CHECK, Status.OK, 1.0, 1.0, 1.0))
        families = ", ".join(sorted(self._gates)) or "none has one"
        if fitting:
            said = f"this lattice is that of {' or '.join(readings)}"
        elif fits or not self._gates:
            said = f"this lattice is that of no family here ({families})"
        else:
            said = f"no family here ({families}) takes such a frame"
        nearest = min(
            (fit for fit in fits if np.isfinite(fit.scale)), key=lambda fit: abs(np.log(fit.scale)), default=None
        )
        message = f"{CHECK}: {said}; name the family, or correct the pixel size"
        check = Check(CHECK, Status.REFUSED, float(len(fitting)), 1.0, 1.0, message=message)
        return Choice(nearest.family if nearest else "", check=check)

    @torch.inference_mode()
    def fits(self, frame: Array, sampling_A: float, detector: Detector = UNKNOWN) -> list[Fit]:
        """How a frame [height, width] lies to the lattice of each family that has one; none if all refuse the pixels.

        Also of those that refuse it for its sampling, which is no sign of another crystal: two of the same lattice are
        two at every pixel size.
        """
        gates, exposure = self._gates, Exposure.of(frame, detector.black_level or 0.0)
        if all(worst(gate.pixels(exposure, sampling_A)) == Status.REFUSED for gate in gates.values()):
            return []
        return [Fit(family, *gate.lattice(exposure, sampling_A)) for family, gate in gates.items()]

    def advised(self, answer: Prediction, frame: Array, detector: Detector) -> Prediction:
        """The answer; where its family's lattice is not the frame's, its verdict says whose it is."""
        wrong = next((c for c in answer.verdict.checks if c.name == LATTICE and c.status == Status.REFUSED), None)
        if wrong is None:
            return answer
        fits = self.fits(frame, answer.sampling_A, detector)
        if not any(fit.fits and fit.family != base_family(answer.version.family) for fit in fits):
            return answer
        readings = " or ".join(_readings(fits, answer.sampling_A))
        said = replace(wrong, message=f"{wrong.message}; this lattice is that of {readings}")
        checks = tuple(said if check is wrong else check for check in answer.verdict.checks)
        return replace(answer, verdict=Verdict(checks))

    def predict(
        self,
        choices: Sequence[Choice],
        models: Models,
        frames: Sequence[Array],
        samplings_A: Sequence[float],
        detail: Detail,
        detectors: Sequence[Detector],
    ) -> list[Prediction]:
        """The answers to frames, each by the model of its choice. Both are those of `answerable`."""
        answers: dict[int, Prediction] = {}
        for wanted in dict.fromkeys(choice.model for choice in choices):
            some = [n for n, choice in enumerate(choices) if choice.model == wanted]
            given = models[wanted].predict(
                [frames[n] for n in some], [samplings_A[n] for n in some], detail, [detectors[n] for n in some]
            )
            for number, answer in zip(some, given, strict=True):
                told = self.advised(answer, frames[number], detectors[number])
                answers[number] = _with(told, choices[number].check, detail)
        return [answers[number] for number in range(len(choices))]


def _readings(fits: list[Fit], sampling_A: float) -> list[str]:
    """What a frame at `sampling_A` [Å/px] may show: what fits, and what would fit better at another pixel size."""
    best = max((fit.score for fit in fits if fit.fits), default=0.0)
    return [
        f"{fit.family} at {fit.scale * sampling_A:.4g} Å/px"
        for fit in fits
        if fit.fits or (best and fit.score > best and abs(np.log(fit.scale)) < NEARLY_RIGHT)
    ]


def answerable(choices: Sequence[Choice], resolve: Callable[[str, str], Predictor]) -> tuple[list[Choice], Models]:
    """Choices, and their models as `resolve(family, version)` gives them.

    Where the model of a family that the lattice chose may not answer, its frames alone are refused, by the service's
    own. Raises UnknownModel where a caller named it.
    """
    kept, models = list(choices), {}
    for wanted in dict.fromkeys(choice.model for choice in choices):
        try:
            models[wanted] = resolve(*wanted)
        except UnknownModel as error:
            if wanted == OWN:
                raise
            models[OWN] = resolve(*OWN)
            kept = [_given_up(choice, error) if choice.model == wanted else choice for choice in kept]
    return kept, models


def _given_up(choice: Choice, error: UnknownModel) -> Choice:
    if choice.check is None:
        raise error
    said = choice.check.message or f"{CHECK}: this lattice is that of {choice.family}"
    return Choice(*OWN, check=replace(choice.check, status=Status.REFUSED, message=f"{said}; {error}"))


def _with(answer: Prediction, check: Check | None, detail: Detail) -> Prediction:
    """The answer with the check that chose its family; refused with it."""
    if check is None:
        return answer
    verdict = Verdict((*answer.verdict.checks, check))
    if check.status < Status.REFUSED or answer.verdict.status == Status.REFUSED:
        return replace(answer, verdict=verdict)
    maps = refused_maps((answer.height, answer.width), detail)
    return replace(answer, verdict=verdict, columns=Columns.none(), maps=maps)


def undecided(answer: Prediction) -> bool:
    """Whether the frame was refused because its lattice is that of no family or of several, whatever the model says."""
    return any(check.name == CHECK and check.status == Status.REFUSED for check in answer.verdict.checks)
