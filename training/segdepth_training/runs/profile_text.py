"""A measured profile as TOML: figures with errors in comments, and what is left open, to be stated by hand."""

import math
from collections.abc import Sequence
from statistics import median

from segdepth_training.frames.recorded import Recorded
from segdepth_training.recipes.profile import Profile
from segdepth_training.recipes.recipe import Microscope, Recipe
from segdepth_training.runs.instrument import Asked, Told

SURE = 1.64
"""Standard deviations to either side of a range that a profile is given: nine in ten."""

SYSTEMATIC_CONTRAST, SYSTEMATIC_A = 0.06, 0.035
"""Errors that more frames do not lessen: of simulations of even unit cells that are compared with real specimens."""

SPREAD_PX = 0.1
"""By how much the spread measured of the noise may differ from that of the signal [px]."""

WIDTH = 118

CONFOUNDED = """\
Contrast, thickness and defocus are confounded: of one focus the contrast is known to about ± .1 only, through focus
better (--focal-step). A vibration, a wide focal spread, an MTF that does not spread the noise, and thermal motion
blur alike: what is called vibration here is all of it that the microscope's and camera's own ranges do not explain, so
state those as narrowly as they are known, and measure again with --known THIS_FILE."""


def text_of(told: Told, recipe: Recipe, name: str, known: Profile | None, asked: Asked) -> str:
    """The profile as TOML. It reads back as a Profile."""
    files = sorted({str(group.movie.path.name) for group in told.groups})
    head = [
        *_comment(f"Measured by segdepth-train profile on {told.used} frames of {_listed(files)}. {CONFOUNDED}"),
        f'name = "{name}"',
        f'description = "measured: contrast {told.contrast.mean:.2f}, vibration {told.vibration_A.mean:.2f} Å"',
        "",
    ]
    return "\n".join(
        [*head, *_microscope(told, recipe, known, asked), "", *_imaging(told, recipe, known), "", *_camera(told)]
    )


def ranges(told: Told) -> dict[str, tuple[float, float]]:
    """Contrast and vibration [Å] as the ranges that a profile states."""
    found = {}
    for name, measured, systematic in (
        ("contrast", told.contrast, SYSTEMATIC_CONTRAST),
        ("vibration_A", told.vibration_A, SYSTEMATIC_A),
    ):
        reach = SURE * math.hypot(measured.error, systematic)
        nodes = measured.nodes
        low, high = max(float(nodes[0]), measured.mean - reach), min(float(nodes[-1]), measured.mean + reach)
        found[name] = (round(low, 3), round(high, 3))
    return found


def _microscope(told: Told, recipe: Recipe, known: Profile | None, asked: Asked) -> list[str]:
    stated = known.microscope.model_dump(exclude_unset=True) if known else {}
    lines = ["[microscope]"]
    for field in Microscope.model_fields:
        value = getattr(recipe.microscope, field)
        shown = list(value) if isinstance(value, tuple) else value
        if field in stated:
            lines.append(f"{field} = {shown}")
        else:
            lines.append(f"# {field} = {shown}  # not told by frames; the recipe's, state yours")
    means = [each.mean for each in told.defocus_A]
    error_A = max(each.error for each in told.defocus_A)
    what = "first frames at" if asked.focal_step_A is not None else "frames at"
    lines += _comment(
        f"Defocus, from the lowest atom: {what} {_scatter(means, '.0f')} Å, each ± {error_A:.0f} Å"
        f" (within {recipe.microscope.defocus_A[0]:g} to {recipe.microscope.defocus_A[1]:g} Å, which was assumed)."
    )
    return lines


def _imaging(told: Told, recipe: Recipe, known: Profile | None) -> list[str]:
    stated = ranges(told)
    frames = told.frames
    spread = _spread(frames)
    doses = [frame.dose for frame in frames]
    sizes = sorted({group.movie.sampling_A for group in told.groups})
    lines = ["[imaging]"]
    for name, measured, systematic, unit in (
        ("contrast", told.contrast, SYSTEMATIC_CONTRAST, "of a simulation's"),
        ("vibration_A", told.vibration_A, SYSTEMATIC_A, "Å"),
    ):
        lines.append(
            f"# {measured.mean:.3f} ± {measured.error:.3f} {unit}, and ± {systematic:g} that is not counting noise"
        )
        lines.append(f"{name} = {list(stated[name])}")
    if spread:
        lines += [
            f"# The noise is spread by {spread:.2f} px: electrons' signals spread after they were counted.",
            f"mtf_px = [{max(0.0, spread - SPREAD_PX):.2f}, {spread + SPREAD_PX:.2f}]",
            "correlated_share = 1.0",
        ]
    else:
        lines += [
            "# The noise is white, which tells nothing of the MTF: state a measured one, or its range, here.",
            *_left(recipe, known, "mtf_px", "correlated_share"),
        ]
    shown = _listed([f"{size:.4g}" for size in sizes])
    lines += _comment(
        f"The frames had {min(doses):.0f} to {max(doses):.0f} e/Å² and {shown} Å/px: state both if there are no others."
    )
    return [
        *lines,
        *_left(recipe, known, "dose", "samplings_A", "drift_A", "read_noise"),
    ]


def _left(recipe: Recipe, known: Profile | None, *fields: str) -> list[str]:
    """Fields that frames do not tell: as they are known, else as comments with the recipe's values."""
    lines = []
    for field in fields:
        value = getattr(recipe.camera, field)
        shown = list(value) if isinstance(value, tuple) else value
        stated = known is not None and field in known.imaging.model_fields_set
        lines.append(f"{field} = {shown}" if stated else f"# {field} = {shown}  # the recipe's; state yours")
    return lines


def _camera(told: Told) -> list[str]:
    """The section that --detector reads."""
    frames = told.frames
    lines = ["[camera]"]
    counts = [frame.counts_per_electron for frame in frames]
    lines += [
        f"# Median of {len(counts)} frames, {_scatter(counts, '.3g')}; right if the black level is.",
        f"counts_per_electron = {median(counts):.4g}",
    ]
    sure = [frame for frame in frames if math.isfinite(frame.black_error)]
    if sure:
        level = median(frame.black for frame in sure)
        error = median(frame.black_error for frame in sure)
        lines += _comment(
            f"Electrons' noise puts the black level at {level:.3g} ± {error:.2g} counts. A dark image knows it better;"
            " state `black_level` (or `dark`, which is subtracted) if it is not 0."
        )
        lines.append(f"# black_level = {level:.3g}")
    else:
        lines.append("# The black level does not show in these frames; state `dark` or `black_level` if it is not 0.")
    if spread := _spread(frames):
        lines.append(f"mtf = {{ sigma_px = {spread:.2f} }}")
    return [*lines, ""]


def _spread(frames: Sequence[Recorded]) -> float:
    return float(median(frame.spread_px for frame in frames))


def _scatter(values: Sequence[float], form: str) -> str:
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _comment(text: str) -> list[str]:
    lines, line = [], "#"
    for word in text.split():
        if len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = "#"
        line = f"{line} {word}"
    return [*lines, line]
