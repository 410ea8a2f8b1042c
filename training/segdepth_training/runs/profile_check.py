"""Which frames lie outside a profile, and in what."""

import math
from collections.abc import Sequence

from segdepth_training.fitting.conditions import Measured, Regressor
from segdepth_training.frames.recorded import Recorded
from segdepth_training.machine.progress import say
from segdepth_training.recipes.profile import Profile
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.runs.instrument import Asked, Group, conditions, whole
from segdepth_training.runs.profile_text import SPREAD_PX, SURE, SYSTEMATIC_A, SYSTEMATIC_CONTRAST

DOSE_FACTOR = 1.25
"""By how much a dose may be beyond what is stated: it is measured by noise."""


def print_outside(groups: Sequence[Group], of: Regressor, profile: Profile, recipe: Recipe, asked: Asked) -> int:
    """A line for each frame, or series, outside the profile; `recipe` is that of the instrument. Returns how many."""
    count = frames = 0
    for group in groups:
        parts = [group] if asked.focal_step_A is not None else group.one_by_one()
        for part in parts:
            frames += len(part.numbers)
            said = outside(part, of, profile, recipe, asked)
            if said:
                count += len(part.numbers)
                first, last = part.numbers[0], part.numbers[-1]
                numbers = f"frame {first}" if first == last else f"frames {first}-{last}"
                say(f"{part.movie.path.name} {numbers}: {'; '.join(said)}")
    say(f"{count} of {frames} frames outside {profile.name}")
    return count


def outside(group: Group, of: Regressor, profile: Profile, recipe: Recipe, asked: Asked) -> list[str]:
    """What of a group lies outside the instrument's ranges, in words."""
    said = [*dict.fromkeys(one for frame in group.frames for one in _of_noise(frame, recipe))]
    size_A, sizes_A = group.movie.sampling_A, recipe.camera.samplings_A
    if "samplings_A" in profile.imaging.model_fields_set and all(abs(size_A / one - 1) > 0.02 for one in sizes_A):
        said.append(f"pixel size {size_A:.4g} Å/px, {', '.join(map(str, sizes_A))} stated")
    if not whole(group, asked):
        problems = dict.fromkeys(frame.problem for frame in group.frames if frame.problem)
        return [*said, *(f"not measured: {problem}" for problem in problems)]
    found = conditions(group, of, asked)
    said += _beyond("contrast", found.contrast, recipe.camera.contrast, SYSTEMATIC_CONTRAST, "")
    said += _beyond("vibration", found.vibration_A, recipe.camera.vibration_A, SYSTEMATIC_A, " Å")
    return said


def _of_noise(frame: Recorded, recipe: Recipe) -> list[str]:
    camera, said = recipe.camera, []
    low, high = camera.dose
    if math.isfinite(frame.dose) and not low / DOSE_FACTOR <= frame.dose <= high * DOSE_FACTOR:
        said.append(f"dose {frame.dose:.0f} e/Å², {low:g} to {high:g} stated")
    narrow, wide = camera.mtf_px
    if frame.spread_px > wide + SPREAD_PX or (camera.correlated_share == 1 and frame.spread_px < narrow - SPREAD_PX):
        said.append(f"noise spread by {frame.spread_px:.2f} px, {narrow:g} to {wide:g} px stated")
    return said


def _beyond(name: str, measured: Measured, stated: tuple[float, float], systematic: float, unit: str) -> list[str]:
    """In words, where the measurement lies beyond what is stated by more than nine in ten of its error."""
    low, high = stated
    error = math.hypot(measured.error, systematic)
    reach = SURE * error
    if low - reach <= measured.mean <= high + reach:
        return []
    return [f"{name} {measured.mean:.2f} ± {error:.2f}{unit}, {low:g} to {high:g}{unit} stated"]
