"""segdepth-train bench: regenerate the benchmark, examine a model on it, and report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from segdepth_training.benchmark import movies
from segdepth_training.benchmark.answers import RULES, Frames, examined
from segdepth_training.benchmark.bound import RULES as BOUND_RULES
from segdepth_training.benchmark.bound import Bound, figures
from segdepth_training.benchmark.contenders import baselines, released
from segdepth_training.benchmark.definition import DOSES, Size, digest, plan_of
from segdepth_training.benchmark.movies import Movies
from segdepth_training.benchmark.probes import SPECIMENS, Probes, kept_probes
from segdepth_training.benchmark.reference_intervals import Intervals
from segdepth_training.benchmark.report import PAGE, WORST, write_report
from segdepth_training.benchmark.shifts import SEED as SHIFT_SEED
from segdepth_training.benchmark.shifts import Shift, ShiftPlan, shifts_for
from segdepth_training.benchmark.worst import draw_worst, worst
from segdepth_training.frames.exit_waves import Plan, load, simulate
from segdepth_training.judging.figures import named
from segdepth_training.machine.processes import pool
from segdepth_training.machine.progress import bar, say, wide
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.recipes.seeds import SeedRange


@dataclass(frozen=True)
class Examination:
    """Where the benchmark of a recipe is regenerated, how much of it, and with how many processes."""

    recipe: Recipe
    work: Path
    size: Size
    processes: int
    probes: Path | None
    baselines: Path | None = None
    """Folder with a folder of baselines for each family."""
    intervals: Intervals | None = None
    """Of size full, to compare the figures with."""

    def run(self, models: list[Path]) -> dict[str, Any]:
        """Regenerate what is missing, examine the models in these folders and write the report; returns it.

        The shift sets are asked of the first model alone. Raises NotThisBenchmark where something else than what the
        probes were kept of came out.
        """
        plan = plan_of(self.recipe, self.size)
        self._check_digest()
        families = Frames(self._simulated("specimens", plan, "exit-waves"), plan)
        found = Probes.of(load(families.storage, plan, torch.device("cpu"), range(max(SPECIMENS) + 1)), plan)
        self._check_pixels(found)
        # Before there are threads: simulation forks.
        shifts = {shift.name: self._shifted(shift) for shift in shifts_for(self.recipe.crystal)}
        kept = self.work / "answers" / f"{found.digest[:12]}-{RULES}"
        compared = baselines(self.baselines and self.baselines / self.recipe.family, models[0])
        entries = [*map(released, models), *compared]
        intervals = self._intervals_of(found.digest, entries[0].name)
        with pool(self.processes) as workers:
            rows = {}
            for entry in entries:
                with bar(entry.name) as progress:
                    rows[entry.name] = examined(entry, families, kept, progress, workers).columns
            with bar("Bayes bound") as progress:
                finite = tuple(float(dose) for dose in DOSES.doses if dose != "noise-free")
                bound = Bound(plan, finite).rows(self.size.bounded, kept / f"bound-{BOUND_RULES}", progress, workers)
            with bar("movies") as progress:
                movies_of = Movies(families.storage, plan, models[0])
                pooled = movies_of.rows(self.size.movies, kept / f"movies-{entries[0].key}", progress, workers)
            shifted = {}
            for name, frames in shifts.items():
                with bar(name) as progress:
                    shifted[name] = examined(entries[0], frames, kept, progress, workers)
        species = named(self.recipe.crystal.elements)
        facts: dict[str, Any] = {
            "family": self.recipe.family,
            "size": str(self.size),
            "specimens": plan.specimens,
            "digest": found.digest,
            "species": species,
            "bound": figures(bound, species),
            "movies": movies.figures(pooled),
        }
        report = write_report(self.work, facts, rows, shifted, [entry.name for entry in compared], intervals)
        worst_of = worst(rows[entries[0].name])
        draw_worst(worst_of, families.storage, plan, entries[0].make(), self.work / WORST)
        say(f"wrote {self.work / PAGE}")
        return report

    def _simulated(self, title: str, plan: Plan, name: str) -> Storage:
        storage = Storage.at(self.work) / f"{name}.zarr"
        with bar(title) as progress:
            simulate(storage, plan, progress, processes=self.processes)
        return storage

    def _shifted(self, shift: Shift) -> Frames:
        plan = ShiftPlan(self.recipe, SeedRange.BENCHMARK, SHIFT_SEED, specimens=self.size.shifted, made=shift.made)
        storage = self._simulated(f"specimens {shift.made}", plan, f"shifts/{shift.made}")
        return Frames(storage, plan, shift.name)

    def _intervals_of(self, digest: str, model: str) -> Intervals | None:
        if self.intervals is None or self.intervals.are_of(digest, model):
            return self.intervals
        say(f"without the intervals of size full: they are {self.intervals.model}'s; examine {model} with --size full")
        return None

    def _check_digest(self) -> None:
        if self.probes is not None and (known := kept_probes(self.probes)) is not None:
            known.check_digest(digest(self.recipe))

    def _check_pixels(self, found: Probes) -> None:
        if self.probes is None:
            return
        known = kept_probes(self.probes)
        if known is None:
            self.probes.parent.mkdir(parents=True, exist_ok=True)
            self.probes.write_text(found.model_dump_json(indent=1) + "\n")
            say(f"kept the benchmark's probes in {self.probes}")
        else:
            known.check(found)


def print_bars(report: dict[str, Any]) -> None:
    """Every bar with its figure."""
    reached = sum(bar["reached"] for bar in report["bars"])
    table = Table(title=f"{report['model']}: {reached} of {len(report['bars'])} bars reached")
    for heading in ("family", "e/Å²", "what", "bar", "figure", ""):
        table.add_column(heading)
    for one in report["bars"]:
        mark = "[green]reached[/green]" if one["reached"] else "[red]missed[/red]"
        table.add_row(one["family"], one["dose"], one["what"], one["bar"], f"{one['figure']:.3f}", mark)
    wide().print(table)
