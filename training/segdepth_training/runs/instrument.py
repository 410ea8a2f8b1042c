"""From a station's own frames to a profile of its instrument: what they tell, how surely, and what they leave open."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np

from segdepth_core.predictor import Predictor
from segdepth_training.fitting.conditions import (
    IMAGES,
    STEPS,
    Conditions,
    Measured,
    Regressor,
    Simulation,
    simulated,
    together,
    trained,
)
from segdepth_training.frames.motif import Motif, turned_alike
from segdepth_training.frames.movie_files import MovieFile
from segdepth_training.frames.recorded import Reader, Recorded
from segdepth_training.frames.unit_cell import UnitCell, reflections_of
from segdepth_training.recipes.profile import Profile
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.specimens.projection import project

MEASURED = ("contrast", "vibration_A")
"""What is measured with a prior of its own, far beyond any recipe's."""

LONGEST_SERIES = 24
"""Frames through focus that are looked at together."""

Bar = Callable[[str], AbstractContextManager[Callable[..., None]]]


@dataclass(frozen=True)
class Group:
    """Frames of one specimen under the same conditions, or one series through focus: its numbers within the file."""

    movie: MovieFile
    numbers: tuple[int, ...]
    frames: tuple[Recorded, ...]

    @property
    def motifs(self) -> list[Motif]:
        """Of the frames that have one."""
        return [frame.motif for frame in self.frames if frame.motif is not None]

    def one_by_one(self) -> "list[Group]":
        """Each frame for itself."""
        pairs = zip(self.numbers, self.frames, strict=True)
        return [Group(self.movie, (number,), (frame,)) for number, frame in pairs]


@dataclass(frozen=True)
class Told:
    """What all frames tell: contrast and vibration together, defocus of each group, and what their noise tells."""

    contrast: Measured
    vibration_A: Measured
    defocus_A: tuple[Measured, ...]
    groups: tuple[Group, ...]
    used: int

    @property
    def frames(self) -> list[Recorded]:
        """Every frame whose noise could be read."""
        return [frame for group in self.groups for frame in group.frames if np.isfinite(frame.dose)]


@dataclass(frozen=True)
class Asked:
    """How files are to be read: focal_step_A: from frame to frame of each, which is then one series; apart: frames of a
    file show different specimens or foci; black: counts that no electron makes."""

    focal_step_A: float | None = None
    apart: bool = False
    black: float = 0.0


def with_known(recipe: Recipe, known: Profile | None) -> Recipe:
    """The recipe, with what a profile states of microscope and camera except what is to be measured."""
    if known is None:
        return recipe
    applied = known.applied_to(recipe)
    camera = applied.camera.model_copy(update={name: getattr(recipe.camera, name) for name in MEASURED})
    return recipe.model_copy(update={"microscope": applied.microscope, "camera": camera})


def look(movies: Sequence[MovieFile], predictor: Predictor, recipe: Recipe, asked: Asked, bar: Bar) -> list[Group]:
    """Every frame of the files. Raises ValueError for a file that is no series though it is said to be one."""
    projection = project(recipe.crystal)
    reader = Reader(predictor, projection, reflections_of(projection))
    groups, total = [], sum(map(len, movies))
    with bar("reading") as progress:
        done = 0
        for movie in movies:
            if asked.focal_step_A is not None and not 3 <= len(movie) <= LONGEST_SERIES:
                raise ValueError(
                    f"{movie.path}: {len(movie)} frames; a series through focus has 3-{LONGEST_SERIES}, one a step:"
                    " cut it, or leave out --focal-step"
                )
            frames = []
            for number in range(len(movie)):
                frames.append(reader.read(movie[number], movie.sampling_A, asked.black))
                done += 1
                progress(done, total)
            group = Group(movie, tuple(range(len(movie))), tuple(frames))
            groups += group.one_by_one() if asked.apart else [group]
    return groups


def regressor(
    recipe: Recipe, groups: Sequence[Group], asked: Asked, bar: Bar, images: int = IMAGES, steps: int = STEPS
) -> Regressor:
    """A regressor for these frames. Raises ValueError where none of them shows a motif."""
    some = [group for group in groups if whole(group, asked)]
    if not some:
        reasons = sorted({frame.problem for group in groups for frame in group.frames if frame.problem})
        raise ValueError(
            f"no frame tells of the instrument: {'; '.join(reasons) or 'a series lacks one'}. Record an even"
            f" region of {recipe.family}'s crystal on its zone axis, at 200 e/Å² a frame or more; is --sampling right?"
        )
    number = len(some[0].frames) if asked.focal_step_A is not None else 1
    if any(len(group.frames) != number for group in some if asked.focal_step_A is not None):
        raise ValueError("series through focus of different lengths: measure them one by one")
    coarsest_A = max(group.movie.sampling_A for group in some)
    simulation = Simulation(UnitCell.of(recipe), recipe, coarsest_A, number, asked.focal_step_A or 0.0)
    with bar("simulating") as progress:
        draws = simulated(simulation, progress, images)
    with bar("learning") as progress:
        return trained(simulation, draws, progress, steps)


def tell(groups: Sequence[Group], of: Regressor, asked: Asked) -> Told:
    """What the frames tell, every group for itself and then all together."""
    some = [group for group in groups if whole(group, asked)]
    answers = [conditions(group, of, asked) for group in some]
    both = together(answers)
    all_of_them = Conditions(both, answers[0].defocus)
    return Told(
        all_of_them.contrast,
        all_of_them.vibration_A,
        tuple(answer.defocus for answer in answers),
        tuple(groups),
        sum(len(group.motifs) for group in some),
    )


def conditions(group: Group, of: Regressor, asked: Asked) -> Conditions:
    """What one group tells: a series as such, frames of one specimen by their mean."""
    return of.of(turned_alike(group.motifs) if asked.focal_step_A is not None else [averaged(group.motifs)])


def averaged(motifs: Sequence[Motif]) -> Motif:
    """The mean of motifs of one specimen under the same conditions, by their noise."""
    alike = turned_alike(motifs)
    weights = np.array([1 / one.variance.mean() for one in alike])
    weights = weights / weights.sum()
    values = np.sum([weight * one.values for weight, one in zip(weights, alike, strict=True)], 0)
    variance = np.sum([weight**2 * one.variance for weight, one in zip(weights, alike, strict=True)], 0)
    return replace(alike[0], values=values, variance=variance)


def whole(group: Group, asked: Asked) -> bool:
    """Whether a group can be asked: a series needs every frame."""
    if asked.focal_step_A is not None:
        return all(frame.motif is not None for frame in group.frames)
    return bool(group.motifs)
