"""Where a run keeps its things, and what it is made of: one place a run, one recipe, one seed."""

from dataclasses import dataclass
from pathlib import Path

from segdepth_artefacts.channels import STABLE
from segdepth_artefacts.names import is_name
from segdepth_training.exit_waves import Plan
from segdepth_training.place import Place
from segdepth_training.recipe import Recipe, load_recipe, parse_recipe
from segdepth_training.seeds import SeedRange, run_seed
from segdepth_training.strangers import StrangerPlan
from segdepth_training.train import Run

RECIPE, RUN_ID, GATE_SET = "recipe.toml", "run-id", "gate-set"
STRANGERS_SEED = 1
"""Of the calibration's seed range: no stranger shares its random numbers with a specimen that calibrates."""

FRESH, FIXED = "drawn for this run", "the public benchmark"


def stable_family(recipe: Recipe) -> str | None:
    """The family whose channel `stable` points at the model that training starts from; None for any other start."""
    start = recipe.training.start or ""
    if start == STABLE:
        return recipe.family
    family, _, channel = start.partition("/")
    return family if channel == STABLE and is_name(family) else None


@dataclass(frozen=True)
class Workspace:
    """A run: `place` holds exit waves, checkpoints and the model in the making.

    The run id decides the training specimens; calibration specimens are the same for every run. The benchmark specimens
    are too, so that models compare, unless the run has a `fresh` gate set, which nobody can have tuned a recipe to.
    """

    place: Place
    recipe: Recipe
    run_id: str
    fresh: bool = False

    @classmethod
    def open(
        cls, where: str | Path | Place, recipe_path: Path | None, run_id: str | None, *, fresh: bool | None = None
    ) -> "Workspace":
        """The workspace in a place, new or known. Its recipe is copied in once and must not change afterwards.

        Raises ValueError where the recipe, the run id or the kind of gate set is another than before.
        """
        place = Place.at(where)
        recipe = recipe_of(place, recipe_path)
        known = (place.read(RUN_ID) or run_id or place.name).strip()
        if run_id is not None and run_id != known:
            raise ValueError(f"{place} belongs to run {known}, not {run_id}; give another --work folder")
        begun = place.read(RECIPE) is not None
        before = (place.read(GATE_SET) or FIXED).strip() == FRESH if begun else None
        if fresh is not None and before is not None and fresh != before:
            gate_set = FRESH if before else FIXED
            raise ValueError(f"{place} was begun with another gate set ({gate_set}); give another --work folder")
        drawn = bool(fresh if before is None else before)
        if not begun:
            # The recipe last: with it the run is begun.
            place.write_once(RUN_ID, known + "\n")
            place.write_once(GATE_SET, (FRESH if drawn else FIXED) + "\n")
            assert recipe_path is not None, "recipe_of read it"
            place.write_once(RECIPE, recipe_path.read_text())
        elif place.read(RUN_ID) is None:
            place.write_once(RUN_ID, known + "\n")
        return cls(place, recipe, known, drawn)

    @property
    def seeds(self) -> dict[str, int]:
        """Of each range this run uses, as the manifest records them."""
        seed = run_seed(self.run_id)
        return {"train": seed, "calibration": 0, "benchmark": seed if self.fresh else 0}

    def plan(self, purpose: SeedRange) -> Plan:
        """The specimens of one purpose."""
        recipe = self.recipe
        number = {
            SeedRange.TRAIN: recipe.train_specimens,
            SeedRange.CALIBRATION: recipe.calibration.specimens,
            SeedRange.BENCHMARK: recipe.benchmark.specimens,
        }[purpose]
        in_turn = purpose != SeedRange.TRAIN
        return Plan(recipe, purpose, self.seeds[purpose.name.lower()], number, in_turn=in_turn)

    @property
    def strangers(self) -> StrangerPlan:
        """The specimens that are foreign to the model."""
        return StrangerPlan(self.recipe, SeedRange.CALIBRATION, STRANGERS_SEED, self.recipe.foreign_specimens)

    @property
    def strangers_data(self) -> Place:
        """Where their exit waves are."""
        return self.place / "exit-waves" / "foreign.zarr"

    def data(self, purpose: SeedRange) -> Place:
        """Where the exit waves of one purpose are."""
        return self.place / "exit-waves" / f"{purpose.name.lower()}.zarr"

    @property
    def model(self) -> Place:
        """The model in the making."""
        return self.place / "model"

    @property
    def start(self) -> Place | None:
        """The released model that training starts from, if any: a folder, or what `steps.keep_start` keeps here."""
        start = self.recipe.training.start
        if start is None:
            return None
        return self.place / "start" if stable_family(self.recipe) or self.place.remote else Place.at(start)

    def run(self, minutes: float | None = None) -> Run:
        """The training run."""
        train, data = self.place / "train", self.data(SeedRange.TRAIN)
        return Run(self.recipe, data, train, self.seeds["train"], minutes, self.start)


def recipe_of(place: Place, recipe_path: Path | None) -> Recipe:
    """The recipe that a run was begun with, or that a new one is given.

    Raises ValueError where there is none, where the two differ, or where it has a slip.
    """
    kept = place.read(RECIPE)
    if kept is None:
        if recipe_path is None:
            raise ValueError(f"{place} is not a run yet; name its recipe with --recipe")
        return load_recipe(recipe_path)
    if recipe_path is not None and recipe_path.read_text() != kept:
        raise ValueError(f"{place} was begun with another recipe; give another --work folder or use its {RECIPE}")
    return parse_recipe(kept, str(place / RECIPE))
