"""Is the family's crystal in the picture, and at which pixel size? The power spectrum knows, whatever the contrast.

The family's reflections are sought as one pattern, turned and scaled, on a log-polar map of the spectrum, where a turn
and a scale are shifts; then each reflection's own place refines both. Suffixes: B frames, S segments, R reflections,
P points around a reflection, K steps of log frequency, T steps of azimuth, Z steps of log scale.
"""

import cmath
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from segdepth_artefacts.manifest import Reflection
from segdepth_core.spectrum import Spectrum

LOG_STEP = 0.006
"""Step of the logarithm of spatial frequency."""

AZIMUTHS = 180
"""Steps of the azimuth over half a turn."""

NEAR = (0.85, 1.18)
"""Scales searched first: a pixel size that is a little wrong, or right."""

FAR = (0.45, 2.2)
"""Scales searched where the near ones do not fit: wrong binning, wrong magnification."""

TRUSTED = 0.04
"""A scale within this of 1 needs no farther search."""

SEARCHED = 6
"""Reflections of largest spacing, which the search needs; all serve to refine."""

ROUNDS = 3
"""Of refinement."""

PATCH = 1.2
"""Radius of the patch in which a reflection's place is sought, in units of 1/field."""

CLEAR = 8.0
"""Power over background from which a reflection counts when the scale is refined."""

SIGNIFICANT = 1.4
"""How far a score exceeds 1 that is no noise, in one segment; 99 % of frames of pure noise stay below 1.2."""

CERTAIN = 2.0
"""How far a score exceeds 1 on which a frame may be refused; 1000 frames of pure noise stayed below 1.6."""

MOST_STAND_OUT = 1.8
"""Amplitude over the background's from which a reflection is no noise, where half of the pattern's must have it."""

PRIOR = 1.15
"""A scale within TRUSTED of 1 is preferred to another up to this much higher score: pixel sizes are mostly right."""


@dataclass(frozen=True)
class Lattice:
    """What was found in each frame, [B] each."""

    scale: Tensor
    """Pixel size that the lattice implies, over the one stated."""
    score: Tensor
    """Mean amplitude of the pattern's reflections over the background's."""
    significant: float
    """The score from which there is a lattice."""
    certain: float
    """The score from which its scale is beyond doubt."""


def find_lattice(spectrum: Spectrum, reflections: tuple[Reflection, ...]) -> Lattice:
    """The best turn and scale of the family's pattern in each frame's spectrum."""
    pattern = sorted(reflections, key=lambda reflection: -reflection.spacing_A)
    lattice = _search(spectrum, pattern, NEAR)
    doubtful_B = ((lattice.scale - 1).abs() > TRUSTED) | (lattice.score < lattice.significant)
    if doubtful_B.any():
        farther = _search(spectrum.only(doubtful_B), pattern, FAR)
        better = farther.score > lattice.score[doubtful_B] * PRIOR
        for now, then in ((lattice.scale, farther.scale), (lattice.score, farther.score)):
            now[doubtful_B] = torch.where(better, then, now[doubtful_B])
    return lattice


def _search(spectrum: Spectrum, pattern: list[Reflection], scales: tuple[float, float]) -> Lattice:
    searched = pattern[:SEARCHED]
    lowest = scales[0] / searched[0].spacing_A
    # Half the lowest frequency too: see _first_order.
    polar = _Polar.of(spectrum, lowest / 2.05, 1.02 * scales[1] / searched[-1].spacing_A)
    amplitude_BKT = (polar.power_BKT / polar.background_BK[:, :, None]).sqrt()
    first = math.ceil(math.log(scales[0]) / LOG_STEP)
    steps = math.floor(math.log(scales[1]) / LOG_STEP) - first + 1
    score_BZT = torch.stack([_shifted(amplitude_BKT, polar, one, first, steps) for one in searched]).mean(0)
    scale_Z = torch.exp((first + torch.arange(steps, device=score_BZT.device)) * LOG_STEP)
    prior_Z = torch.where((scale_Z - 1).abs() <= TRUSTED, PRIOR, 1.0)
    best_B = (score_BZT * prior_Z[:, None]).flatten(1).argmax(1)
    score_B = score_BZT.flatten(1).gather(1, best_B[:, None])[:, 0]
    scale_B = scale_Z[best_B // AZIMUTHS]
    turn_B = (best_B % AZIMUTHS) * (math.pi / AZIMUTHS)
    similarity_B = _refined(spectrum, polar, torch.polar(scale_B, turn_B), pattern)
    similarity_B = _first_order(spectrum, polar, similarity_B, score_B, searched)
    # Segments overlap, so two are worth one.
    steadier = math.sqrt(max(1.0, spectrum.segments / 2))
    return Lattice(similarity_B.abs(), score_B, 1 + SIGNIFICANT / steadier, 1 + CERTAIN / steadier)


@dataclass(frozen=True)
class _Polar:
    """The spectrum by log frequency and azimuth, and its background: the median over the azimuth, smoothed."""

    power_BKT: Tensor
    background_BK: Tensor
    lowest: float
    """Spatial frequency of the first step [1/Å]."""

    @classmethod
    def of(cls, spectrum: Spectrum, lowest: float, highest: float) -> "_Polar":
        device = spectrum.power.device
        steps = math.ceil(math.log(highest / lowest) / LOG_STEP) + 2
        k_K = lowest * torch.exp(torch.arange(steps, device=device) * LOG_STEP)
        k_KT = torch.polar(k_K[:, None], torch.arange(AZIMUTHS, device=device)[None] * (math.pi / AZIMUTHS))
        count = len(spectrum.power)
        power_BKT = spectrum.at(k_KT.reshape(1, -1).expand(count, -1)).reshape(count, steps, AZIMUTHS)
        middle_BK = power_BKT.median(2).values.clamp(min=1e-20).log()
        background_BK = F.avg_pool1d(F.pad(middle_BK[:, None], (4, 4), mode="replicate"), 9, stride=1)[:, 0].exp()
        return cls(power_BKT, background_BK, lowest)

    def background_at(self, k_BM: Tensor) -> Tensor:
        """Background at complex spatial frequencies [B, M]."""
        step = ((k_BM.abs() / self.lowest).log() / LOG_STEP).round().long()
        return torch.gather(self.background_BK, 1, step.clamp(0, self.background_BK.shape[1] - 1))


def _shifted(amplitude_BKT: Tensor, polar: _Polar, reflection: Reflection, first: int, steps: int) -> Tensor:
    """Amplitude where `reflection` lies, for every scale and turn of the pattern [B, Z, T]."""
    at = math.log(1 / reflection.spacing_A / polar.lowest) / LOG_STEP + first
    row, part = math.floor(at), at - math.floor(at)
    rows = torch.lerp(amplitude_BKT[:, row : row + steps], amplitude_BKT[:, row + 1 : row + 1 + steps], part)
    turn = reflection.azimuth_deg / (180 / AZIMUTHS)
    column, part = math.floor(turn), turn - math.floor(turn)
    return torch.lerp(rows.roll(-column, 2), rows.roll(-column - 1, 2), part)


def _places(pattern: list[Reflection], like: Tensor) -> Tensor:
    """Spatial frequencies of the pattern, kx + i ky [1/Å]."""
    places = [cmath.rect(1 / reflection.spacing_A, math.radians(reflection.azimuth_deg)) for reflection in pattern]
    return torch.tensor(places, dtype=like.dtype, device=like.device)


def _refined(spectrum: Spectrum, polar: _Polar, similarity_B: Tensor, pattern: list[Reflection]) -> Tensor:
    """Turn and scale (as one complex factor) by least squares on the places of the reflections that stand out."""
    pattern_R = _places(pattern, similarity_B)
    offset_P = _patch(similarity_B) * (PATCH / spectrum.field_A)
    for _ in range(ROUNDS):
        expected_BR = similarity_B[:, None] * pattern_R
        closer_BR, _ = _centroid(spectrum, polar, expected_BR, offset_P)
        found_BR, over_BR = _centroid(spectrum, polar, closer_BR, offset_P)
        stays_BR = (found_BR - expected_BR).abs() < 1.5 * PATCH / spectrum.field_A
        # Where none stands out the longest spacings decide.
        weight_BR = (over_BR - CLEAR).clamp(min=0) / (over_BR + CLEAR) * stays_BR
        weight_BR[:, :SEARCHED] += 1e-6
        norm_B = (weight_BR * pattern_R.abs().square()).sum(1)
        similarity_B = (weight_BR * pattern_R.conj() * found_BR).sum(1) / norm_B
    return similarity_B


def _centroid(spectrum: Spectrum, polar: _Polar, k_BR: Tensor, offset_P: Tensor) -> tuple[Tensor, Tensor]:
    """Where the power around each frequency is centred, and its highest value over the background's, both [B, R]."""
    at_BRP = k_BR[:, :, None] + offset_P
    power_BRP = spectrum.at(at_BRP.flatten(1)).reshape(at_BRP.shape)
    background_BR = polar.background_at(k_BR)
    above_BRP = (power_BRP - 2 * background_BR[:, :, None]).clamp(min=0) + 1e-20
    centred_BR = k_BR + (offset_P * above_BRP).sum(2) / above_BRP.sum(2)
    return centred_BR, power_BRP.amax(2) / background_BR


def _patch(like: Tensor) -> Tensor:
    """Points of a unit disk, as complex numbers."""
    line = torch.linspace(-1, 1, 7, device=like.device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    inside = x.square() + y.square() <= 1 + 1e-6
    return torch.complex(x[inside], y[inside])


def _first_order(
    spectrum: Spectrum, polar: _Polar, similarity_B: Tensor, score_B: Tensor, searched: list[Reflection]
) -> Tensor:
    """A smaller scale where the pattern fits there too: what was found are then its higher orders.

    Second orders make the same pattern at twice its scale. That of a face-centred crystal along [110] is made by a part
    of them at the square root of two too, turned by 90°, one in six of which is an order of that as well: there most of
    the reflections must stand out.
    """
    pattern_R = _places(searched, similarity_B)

    def amplitude(similarity_B: Tensor) -> Tensor:
        at_BR = similarity_B[:, None] * pattern_R
        return (spectrum.at(at_BR) / polar.background_at(at_BR)).sqrt()

    half_B, turned_B = similarity_B / 2, similarity_B * (1j / math.sqrt(2))
    orders_B = amplitude(turned_B).median(1).values > (0.5 * score_B).clamp(min=MOST_STAND_OUT)
    lower_B = torch.where(orders_B, turned_B, similarity_B)
    return torch.where(amplitude(half_B).mean(1) > 0.5 * score_B, half_B, lower_B)
