"""Where a run keeps its things, and what it is made of: one folder a run, one recipe, one seed."""

from dataclasses import dataclass
from pathlib import Path

from segdepth_training.exit_waves import Plan
from segdepth_training.recipe import Recipe, load_recipe
from segdepth_training.seeds import SeedRange, run_seed
from segdepth_training.train import Run


@dataclass(frozen=True)
class Workspace:
    """A run: `folder` holds exit waves, checkpoints and the model in the making.

    The run id decides the training specimens; calibration and benchmark specimens are the same for every run, so that
    models compare.
    """

    folder: Path
    recipe: Recipe
    run_id: str

    @classmethod
    def open(cls, folder: Path, recipe_path: Path | None, run_id: str | None) -> "Workspace":
        """The workspace in a folder, new or known. Its recipe is copied in once and must not change afterwards.

        Raises ValueError where the recipe or the run id is another than before.
        """
        kept, name = folder / "recipe.toml", folder / "run-id"
        if not kept.exists():
            if recipe_path is None:
                raise ValueError(f"{folder} is not a run yet; name its recipe with --recipe")
            load_recipe(recipe_path)
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / "recipe.toml.partial"
            partial.write_text(recipe_path.read_text())
            partial.replace(kept)
        elif recipe_path is not None and recipe_path.read_text() != kept.read_text():
            raise ValueError(f"{folder} was begun with another recipe; give another --work folder or use {kept}")
        if not name.exists():
            name.write_text((run_id or folder.resolve().name) + "\n")
        known = name.read_text().strip()
        if run_id is not None and run_id != known:
            raise ValueError(f"{folder} belongs to run {known}, not {run_id}; give another --work folder")
        return cls(folder, load_recipe(kept), known)

    @property
    def seeds(self) -> dict[str, int]:
        """Of each range this run uses, as the manifest records them."""
        return {"train": run_seed(self.run_id), "calibration": 0, "benchmark": 0}

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

    def data(self, purpose: SeedRange) -> Path:
        """Where the exit waves of one purpose are."""
        return self.folder / "exit-waves" / f"{purpose.name.lower()}.zarr"

    @property
    def model(self) -> Path:
        """The model in the making."""
        return self.folder / "model"

    def run(self, minutes: float | None = None) -> Run:
        """The training run."""
        data, folder = self.data(SeedRange.TRAIN).resolve(), (self.folder / "train").resolve()
        start = self.recipe.training.start
        return Run(self.recipe, data, folder, self.seeds["train"], minutes, Path(start).resolve() if start else None)
