"""Whether the model knows such a frame at all: numbers with the range permitted for each, before and after the network.

A frame that only a microscopist's eye would catch (wrong pixel size, another crystal, inverted contrast) gets confident
nonsense from any network; here it gets a refusal that says what was measured. Checks that read pixels alone come first,
those that need the spectrum next, and a frame refused by either never reaches the network.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from segdepth_artefacts.manifest import Domain, Range
from segdepth_core.exposure import Exposure
from segdepth_core.familiarity import CHECK, Familiarity
from segdepth_core.lattice import find_lattice
from segdepth_core.network import Heads
from segdepth_core.photon_transfer import BlackLevel, black_level
from segdepth_core.prediction import Check, Detector, Status, worst
from segdepth_core.prepare import CONTRAST_GAIN, prepare
from segdepth_core.spectrum import FrameNoise, Spectrum
from segdepth_protos.contract import SAMPLING_LIMITS

LATTICE = "lattice"

SMALLEST_FIELD_A = 20.0
"""Shorter side that a frame has at least [Å]: fewer columns have too little of a surface to go by."""

MOST_BLUR_PX = 1.0
"""Spread of the noise (standard deviation) with which counts are still right, whatever has spread it."""

DEFAULT_CHECKS = {
    "sampling": Range(lower=SAMPLING_LIMITS[0], upper=SAMPLING_LIMITS[1], unit="Å/px"),
    "field": Range(lower=SMALLEST_FIELD_A, upper=820.0, unit="Å"),
    "recorded": Range(lower=0.5, ok_lower=0.7),
    "replaced": Range(upper=0.03, ok_upper=0.005),
    "saturation": Range(upper=0.02, ok_upper=0.001),
    "clipping": Range(upper=0.02, ok_upper=0.001),
    "noise": Range(ok_upper=1e7, unit="e/Å²"),
    "smoothing": Range(upper=MOST_BLUR_PX, ok_upper=0.8, unit="px"),
    "black": Range(lower=-0.3, upper=0.3, ok_lower=-0.1, ok_upper=0.1, unit="of the mean"),
}
"""Asked of every frame, whatever the manifest says; the manifest's own ranges come before these."""

CONTRAST_BAND_PER_A = (0.25, 0.75)
"""Spatial frequencies [1/Å] where atomic columns have theirs."""

LATTICE_ELECTRONS = 1e5
"""Electrons in a frame from which a lattice shows (150 e/Å² in 25.6 Å); with fewer its absence says nothing."""

STRANGE = (
    "unlike what the model was made for (log odds {:.3g}): another crystal or zone axis, tilt, defocus or aberrations"
    " outside its range"
)

FEWEST_ELECTRONS = 1e4
"""Dose [e/Å²] beyond any camera's, of which a known spread leaves as much at the finest detail as is permitted."""

CORNER = 4 * math.pi**2 * 0.45
"""By exp(-CORNER s²) a spread of s px damps noise where most of the spectrum's finest detail is."""

ROUNDINGS = 3.0
"""Noise of that many times the variance of rounding is noise of its own."""

LEAST_FANO = 0.3
"""Variance over mean of the counts of a detector, at least: one electron makes a count or more."""

BLUR_MARGIN_PX = 0.2
"""Spread of the noise beyond that of the detector that is no smoothing."""

BLACK_ERRORS = 2.0
"""Standard errors by which the range permitted of the black level is wider, for what a frame cannot tell of it."""


class Gate:
    """The checks of one model."""

    def __init__(self, domain: Domain, canonical_A: float, familiarity: Familiarity | None = None):
        self.ranges = DEFAULT_CHECKS | domain.checks
        self.reflections = domain.reflections
        self.canonical_A = canonical_A
        self.familiarity = familiarity

    def pixels(self, exposure: Exposure, sampling_A: float) -> list[Check]:
        """What the pixels alone tell of a frame at `sampling_A` [Å/px]."""
        height_A, width_A = (side * sampling_A for side in exposure.shape)
        checks = [
            self._judge("sampling", sampling_A, lambda v: f"sampling {v:g} Å/px"),
            self._judge("field", min(height_A, width_A), lambda _: f"field {height_A:.4g} x {width_A:.4g} Å"),
            _pixels_check(exposure),
        ]
        if exposure.problem:
            return checks
        for name, value, said in (
            ("recorded", exposure.recorded, "of the pixels are recorded: the rest is constant or no number"),
            ("replaced", exposure.replaced, "of the pixels are hot, dead or no number, and read from their neighbours"),
            ("saturation", exposure.saturated, "of the pixels are at the highest value: saturated"),
            ("clipping", exposure.black, "of the pixels are at the lowest value, more than noise puts there: clipped"),
        ):
            checks.append(self._judge(name, value, lambda v, said=said: f"{v:.2%} {said}"))  # type: ignore[misc]
        return checks

    def noise(self, exposure: Exposure, measured: FrameNoise, sampling_A: float, detector: Detector) -> list[Check]:
        """What the noise measured tells of how a frame came to be.

        Not asked for what is known of the detector.
        """
        noise, smoothing = self.ranges["noise"], self.ranges["smoothing"]
        if detector.blur_px is not None:
            blurred_px = min(detector.blur_px, MOST_BLUR_PX)
            noise = _ok_to(noise, FEWEST_ELECTRONS * math.exp(CORNER * blurred_px**2))
            smoothing = _ok_to(smoothing, blurred_px + BLUR_MARGIN_PX)
        said = "as little at the finest detail as {:.2g} e/Å² have: smoothed, denoised, averaged or simulated"
        checks = [judge("noise", measured.finest, noise, said.format(measured.finest))]
        if _rounded(exposure, measured.finest, sampling_A):
            said = "noise: no more at the finest detail than whole numbers make: smoothed, denoised or averaged before"
            return [replace(checks[0], status=Status.SUSPECT, message=said)]
        if checks[0].status == Status.OK:
            said = "noise spread over {:.2f} px (standard deviation): smoothed, denoised or resampled before"
            checks.append(judge("smoothing", round(measured.spread_px, 3), smoothing, said.format(measured.spread_px)))
        # Where noise is not what the electrons made it says nothing of the black level.
        if worst(checks) > Status.OK:
            return checks
        assert exposure.around is not None
        if detector.black_level is not None:
            return checks
        level = black_level(exposure.around, exposure.sound, measured.blur_px, sampling_A)
        checks.append(self._black(level) if math.isfinite(level.error) else self._black_untold())
        return checks

    def _black_untold(self) -> Check:
        permitted = self.ranges["black"]
        said = "black: not told by the frame, which has hardly any contrast beside its noise: a pedestal, or vacuum"
        return replace(judge("black", 0.0, permitted, ""), status=Status.SUSPECT, message=said)

    def _black(self, level: BlackLevel) -> Check:
        permitted, doubt = self.ranges["black"], BLACK_ERRORS * level.error
        wider = Range.model_construct(
            **{
                name: None if bound is None else bound + (doubt if "upper" in name else -doubt)
                for name, bound in permitted.model_dump(exclude={"unit"}).items()
            },
            unit=permitted.unit,
        )
        said = (
            f"no electrons at {level.value:+.2f} ± {level.error:.2f} of the mean: a dark image not subtracted, or a"
            " contrast stretch"
        )
        return judge("black", round(level.value, 4), wider, said)

    def spectrum(self, x_Bhw: Tensor, dose_B: Tensor, shape: tuple[int, int], sampling_A: float) -> list[list[Check]]:
        """What the spectrum tells of network input [B, h, w] with a measured dose [e/Å²], a list a frame.

        `shape` and `sampling_A` are those of the caller's frames: rounded to whole pixels, the canonical grid's own
        sampling is not quite the canonical one.
        """
        spectrum = Spectrum.of(x_Bhw / CONTRAST_GAIN, _effective_A(shape, x_Bhw.shape, sampling_A))
        contrasts = contrast(spectrum, dose_B).tolist()
        checks = [
            self._judged([("snr", dose, "a dose of {:.3g} e/Å²"), ("contrast", value, "a contrast of {:.3g}")])
            for dose, value in zip(dose_B.tolist(), contrasts, strict=True)
        ]
        if self.reflections and LATTICE in self.ranges:
            self._add_lattice(checks, spectrum, sampling_A)
        return checks

    def lattice(self, exposure: Exposure, sampling_A: float) -> tuple[float, float, bool]:
        """The pixel size that the family's lattice implies over the stated one, how clearly, and whether that may be.

        Of a frame that `pixels` does not refuse. NaN, 0 and False where there is no such lattice.
        """
        assert exposure.intensity is not None
        x_1hw = prepare(torch.from_numpy(exposure.intensity)[None], sampling_A, self.canonical_A)
        effective_A = _effective_A(exposure.shape, x_1hw.shape, sampling_A)
        lattice = find_lattice(Spectrum.of(x_1hw / CONTRAST_GAIN, effective_A), self.reflections)
        if float(lattice.score[0]) < lattice.significant:
            return math.nan, 0.0, False
        scale, score = float(lattice.scale[0]), float(lattice.score[0])
        return scale, score, LATTICE in self.ranges and _status(scale, self.ranges[LATTICE]) < Status.REFUSED

    def _add_lattice(self, checks: list[list[Check]], spectrum: Spectrum, sampling_A: float) -> None:
        """Of the frames that show one; the others are `unseen`."""
        permitted = self.ranges[LATTICE]
        lattice = find_lattice(spectrum, self.reflections)
        for some, scale, score in zip(checks, lattice.scale.tolist(), lattice.score.tolist(), strict=True):
            if score < lattice.significant:
                continue
            said = f"the lattice implies {scale * sampling_A:.4g} Å/px where {sampling_A:.4g} Å/px is stated"
            if _status(scale, permitted) == Status.SUSPECT:
                said += " (if it is the model's crystal, state that, or --sampling auto-lattice)"
            check = judge(LATTICE, scale, permitted, said)
            doubted = check.status == Status.REFUSED and score < lattice.certain
            some.append(replace(check, status=Status.SUSPECT) if doubted else check)

    def network(self, heads: Heads, dose_B: Tensor, field_A: float) -> list[list[Check]]:
        """What the network itself says of frames with a measured dose [e/Å²] and a shorter side [Å], a list a frame."""
        said = "contrast that looks inverted (probability {:.2f})"
        # A logit's last digits depend on the batch.
        inverted = [[("inverted", round(value, 4), said)] for value in torch.sigmoid(heads.inverted_B).tolist()]
        if self.familiarity is None or CHECK not in self.ranges:
            return [self._judged(one) for one in inverted]
        logit_B = self.familiarity(heads.means_BC, dose_B, torch.full_like(dose_B, field_A))
        foreign = [[(CHECK, round(value, 3), STRANGE)] for value in logit_B.tolist()]
        return [self._judged(one + other) for one, other in zip(inverted, foreign, strict=True)]

    def unseen(
        self, checks: list[Check], centre_HW: Tensor, dose: float, shape: tuple[int, int], sampling_A: float
    ) -> list[Check]:
        """What it means that a frame with these checks shows no lattice: too few electrons, or nothing to count.

        The network's own map of columns (`centre_HW`, logits) tells: what it finds in noise is on no lattice.
        """
        if not self.reflections or LATTICE not in self.ranges or any(check.name == LATTICE for check in checks):
            return []
        found = find_lattice(
            Spectrum.of(torch.sigmoid(centre_HW)[None], _effective_A(shape, centre_HW.shape, sampling_A)),
            self.reflections,
        )
        if float(found.score[0]) < found.certain:
            said = "none of the family's reflections stand out, nor are the columns found on its lattice: noise alone,"
            return [self._no_lattice(Status.REFUSED, f"{said} vacuum, another crystal or zone axis")]
        if dose * shape[0] * shape[1] * sampling_A**2 < LATTICE_ELECTRONS:
            return []
        said = "none of the family's reflections stand out; the columns alone are on its lattice: tilt, or a small part"
        return [self._no_lattice(Status.SUSPECT, f"{said} of the field")]

    def _no_lattice(self, status: Status, said: str) -> Check:
        permitted = self.ranges[LATTICE]
        return Check(LATTICE, status, 0.0, permitted.lower, permitted.upper, permitted.unit, f"{LATTICE}: {said}")

    def _judged(self, measured: list[tuple[str, float, str]]) -> list[Check]:
        return [self._judge(name, value, said.format) for name, value, said in measured if name in self.ranges]

    def _judge(self, name: str, value: float, say: Callable[[float], str]) -> Check:
        return judge(name, value, self.ranges[name], say(value))


def _effective_A(frame: Sequence[int], canonical: Sequence[int], sampling_A: float) -> tuple[float, float]:
    """Sampling [Å/px] of a canonical grid [..., h, w]: rounded to whole pixels it is not quite the canonical one."""
    return frame[0] * sampling_A / canonical[-2], frame[1] * sampling_A / canonical[-1]


def contrast(spectrum: Spectrum, dose_B: Tensor) -> Tensor:
    """Standard deviation of the intensity over its mean in the lattice's band, less the counting noise; [B]."""
    low, high = CONTRAST_BAND_PER_A
    noise_B = math.pi * (high**2 - low**2) / dose_B
    return (spectrum.band(low, high) - noise_B).clamp(min=0).sqrt()


def _rounded(exposure: Exposure, finest: float, sampling_A: float) -> bool:
    """Whether rounding to whole numbers, of variance 1/12, is what is left of the noise.

    Electrons that are counted are whole numbers too: their variance is their mean, or more after a gain.
    """
    if exposure.mean_counts is None:
        return False
    variance = exposure.mean_counts**2 / (finest * sampling_A**2)
    return variance < ROUNDINGS / 12 and variance < LEAST_FANO * exposure.mean_counts


def _ok_to(permitted: Range, value: float) -> Range:
    """The range, in which what is ok goes up to `value`, but no further than what is permitted."""
    if permitted.ok_upper is None:
        return permitted
    upper = math.inf if permitted.upper is None else permitted.upper
    return permitted.model_copy(update={"ok_upper": min(upper, max(permitted.ok_upper, value))})


def judge(name: str, value: float, permitted: Range, said: str) -> Check:
    """The check `name` of a value against its range; `said` names the value in words for the message."""
    status = _status(value, permitted)
    message = "" if status == Status.OK else f"{name}: {said}; permitted {_bounds(permitted, status)}"
    lower, upper, ok_lower, ok_upper = permitted.lower, permitted.upper, permitted.ok_lower, permitted.ok_upper
    return Check(name, status, value, lower, upper, permitted.unit, message, ok_lower, ok_upper)


def _status(value: float, permitted: Range) -> Status:
    if not _within(value, permitted.lower, permitted.upper):
        return Status.REFUSED
    ok_lower = permitted.lower if permitted.ok_lower is None else permitted.ok_lower
    ok_upper = permitted.upper if permitted.ok_upper is None else permitted.ok_upper
    return Status.OK if _within(value, ok_lower, ok_upper) else Status.SUSPECT


def _within(value: float, lower: float | None, upper: float | None) -> bool:
    """NaN is within nothing."""
    return (-math.inf if lower is None else lower) <= value <= (math.inf if upper is None else upper)


def _bounds(permitted: Range, status: Status) -> str:
    """What would not have had this status, in words."""
    lower, upper = permitted.lower, permitted.upper
    if status == Status.SUSPECT:
        lower = lower if permitted.ok_lower is None else permitted.ok_lower
        upper = upper if permitted.ok_upper is None else permitted.ok_upper
    if lower is None:
        text = f"up to {upper:.4g}"
    else:
        text = f"from {lower:.4g}" if upper is None else f"{lower:.4g} to {upper:.4g}"
    return f"{text} {permitted.unit}".rstrip()


def _pixels_check(exposure: Exposure) -> Check:
    """Whether what was recorded is a picture; the value is 1 or 0."""
    problem = exposure.problem
    status = Status.REFUSED if problem else Status.OK
    value = 0.0 if problem else 1.0
    return Check("pixels", status, value, lower=1.0, upper=1.0, message=f"pixels: {problem}" if problem else "")
