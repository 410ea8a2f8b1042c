"""Where a run keeps its things, and what it is made of: one place a run, one recipe, one seed."""

from dataclasses import dataclass
from pathlib import Path

from segdepth_artefacts.channels import STABLE
from segdepth_artefacts.names import is_family
from segdepth_training.fitting.loop import Run
from segdepth_training.frames.exit_waves import Plan
from segdepth_training.frames.strangers import StrangerPlan
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.profile import Profile
from segdepth_training.recipes.recipe import Recipe, load_recipe, parse_recipe
from segdepth_training.recipes.seeds import SeedRange, run_seed

RECIPE, RUN_ID, GATE_SET, PROFILE = "recipe.toml", "run-id", "gate-set", "profile.toml"
STRANGERS_SEED = 1
"""Of the calibration's seed range: no stranger shares its random numbers with a specimen that calibrates."""

FRESH, FIXED = "drawn for this run", "the public benchmark"


def stable_family(recipe: Recipe) -> str | None:
    """The family whose channel `stable` points at the model that training starts from; None for any other start."""
    start = recipe.training.start or ""
    if start == STABLE:
        return recipe.family
    family, _, channel = start.partition("/")
    return family if channel == STABLE and is_family(family) else None


@dataclass(frozen=True)
class Workspace:
    """A run: `storage` holds exit waves, checkpoints and the model in the making.

    The run id decides the training specimens; calibration specimens are the same for every run. The benchmark specimens
    are too, so that models compare, unless the run has a `fresh` gate set, which nobody can have tuned a recipe to.
    """

    storage: Storage
    recipe: Recipe
    run_id: str
    fresh: bool = False

    @classmethod
    def open(
        cls,
        where: str | Path | Storage,
        recipe_path: Path | None,
        run_id: str | None,
        *,
        fresh: bool | None = None,
        profile_path: Path | None = None,
    ) -> "Workspace":
        """The workspace in a place, new or known. Its recipe is copied in once and must not change afterwards.

        So is the profile of the instrument that the recipe is applied to, where there is one. Raises ValueError where
        the recipe, the profile, the run id or the kind of gate set is another than before.
        """
        storage = Storage.at(where)
        recipe, profile = recipe_of(storage, recipe_path), profile_of(storage, profile_path)
        recipe = profile.applied_to(recipe) if profile else recipe
        known = (storage.read(RUN_ID) or run_id or storage.name).strip()
        if run_id is not None and run_id != known:
            raise ValueError(f"{storage} belongs to run {known}, not {run_id}; give another --work folder")
        begun = storage.read(RECIPE) is not None
        before = (storage.read(GATE_SET) or FIXED).strip() == FRESH if begun else None
        if fresh is not None and before is not None and fresh != before:
            gate_set = FRESH if before else FIXED
            raise ValueError(f"{storage} was begun with another gate set ({gate_set}); give another --work folder")
        drawn = bool(fresh if before is None else before)
        if not begun:
            # The recipe last: with it the run is begun.
            storage.write_once(RUN_ID, known + "\n")
            storage.write_once(GATE_SET, (FRESH if drawn else FIXED) + "\n")
            if profile_path is not None:
                storage.write_once(PROFILE, profile_path.read_text())
            assert recipe_path is not None, "recipe_of read it"
            storage.write_once(RECIPE, recipe_path.read_text())
        elif storage.read(RUN_ID) is None:
            storage.write_once(RUN_ID, known + "\n")
        return cls(storage, recipe, known, drawn)

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
    def strangers_data(self) -> Storage:
        """Where their exit waves are."""
        return self.storage / "exit-waves" / "foreign.zarr"

    def data(self, purpose: SeedRange) -> Storage:
        """Where the exit waves of one purpose are."""
        return self.storage / "exit-waves" / f"{purpose.name.lower()}.zarr"

    @property
    def model(self) -> Storage:
        """The model in the making."""
        return self.storage / "model"

    @property
    def base(self) -> Storage:
        """The released model whose second stage is fitted."""
        return self.storage / "base"

    @property
    def examples(self) -> Storage:
        """What the second stage learns from."""
        return self.storage / "examples"

    @property
    def start(self) -> Storage | None:
        """The released model that training starts from, if any: a folder, or what `steps.keep_start` keeps here."""
        start = self.recipe.training.start
        if start is None:
            return None
        return self.storage / "start" if stable_family(self.recipe) or self.storage.remote else Storage.at(start)

    def run(self, minutes: float | None = None) -> Run:
        """The training run."""
        train, data = self.storage / "train", self.data(SeedRange.TRAIN)
        return Run(self.recipe, data, train, self.seeds["train"], minutes, self.start)


def recipe_of(storage: Storage, recipe_path: Path | None) -> Recipe:
    """The recipe that a run was begun with, or that a new one is given.

    Raises ValueError where there is none, where the two differ, or where it has a slip.
    """
    kept = storage.read(RECIPE)
    if kept is None:
        if recipe_path is None:
            raise ValueError(f"{storage} is not a run yet; name its recipe with --recipe")
        return load_recipe(recipe_path)
    if recipe_path is not None and recipe_path.read_text() != kept:
        raise ValueError(f"{storage} was begun with another recipe; give another --work folder or use its {RECIPE}")
    return parse_recipe(kept, str(storage / RECIPE))


def profile_of(storage: Storage, profile_path: Path | None) -> Profile | None:
    """The profile that a run was begun with, or that a new one is given; None of a run of the recipe's instruments.

    Raises ValueError where the two differ, or where it has a slip.
    """
    kept = storage.read(PROFILE)
    if storage.read(RECIPE) is None:
        return Profile.load(profile_path) if profile_path else None
    if profile_path is not None and profile_path.read_text() != kept:
        begun = "another profile" if kept else "no profile"
        raise ValueError(f"{storage} was begun with {begun}; give another --work folder")
    return Profile.parse(kept, str(storage / PROFILE)) if kept else None
