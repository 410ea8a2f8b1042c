"""segdepth-train bench: regenerate the benchmark, examine a model on it, and report."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from segdepth_artefacts import ArtefactStore
from segdepth_training.benchmark.answers import Answers, Frames, examined, workers
from segdepth_training.benchmark.bound import Bound, figures
from segdepth_training.benchmark.contenders import MIXTURE, Entry, released
from segdepth_training.benchmark.definition import DOSES, Size, plan_of
from segdepth_training.benchmark.probes import SPECIMENS, Probes, kept
from segdepth_training.benchmark.report import PAGE, write_report
from segdepth_training.benchmark.shifts import SEED as SHIFT_SEED
from segdepth_training.benchmark.shifts import SHIFTS, Shift, ShiftPlan
from segdepth_training.exit_waves import Plan, load, simulate
from segdepth_training.place import Place
from segdepth_training.progress import bar, say, wide
from segdepth_training.recipe import Recipe
from segdepth_training.seeds import SeedRange


@dataclass(frozen=True)
class Examination:
    """Where the benchmark of a recipe is regenerated, how much of it, and with how many processes."""

    recipe: Recipe
    work: Path
    size: Size
    processes: int
    probes: Path | None

    def run(self, models: list[Path]) -> dict[str, Any]:
        """Regenerate what is missing, examine the models in these folders and write the report; returns it.

        The shift sets are asked of the first model alone. Raises NotThisBenchmark where something else than what the
        probes were kept of came out.
        """
        plan = plan_of(self.recipe, self.size)
        families = Frames(self._simulated("specimens", plan, Place.at(self.work) / "exit-waves.zarr"), plan)
        found = Probes.of(load(families.place, plan, torch.device("cpu"), range(max(SPECIMENS) + 1)), plan)
        self._compare(found)
        entries = [*map(released, models), MIXTURE]
        with workers(self.processes) as pool:
            rows = {entry.name: self._answers(entry, families, entry.name, pool).columns for entry in entries}
            with bar("Bayes bound") as progress:
                finite = tuple(float(dose) for dose in DOSES.doses if dose != "noise-free")
                bound = Bound(plan, finite).rows(self.size.bounded, self.work / "bound", progress, pool)
            shifted = {shift.name: self._shifted(shift, entries[0], pool) for shift in SHIFTS}
        facts: dict[str, Any] = {
            "family": self.recipe.family,
            "size": str(self.size),
            "specimens": plan.specimens,
            "digest": found.digest,
            "bound": figures(bound),
        }
        report = write_report(self.work, facts, rows, shifted)
        say(f"wrote {self.work / PAGE}")
        return report

    def _simulated(self, title: str, plan: Plan, place: Place) -> Place:
        with bar(title) as progress:
            simulate(place, plan, progress, processes=self.processes)
        return place

    def _shifted(self, shift: Shift, entry: Entry, pool: ProcessPoolExecutor) -> Answers:
        plan = ShiftPlan(self.recipe, SeedRange.BENCHMARK, SHIFT_SEED, specimens=self.size.shifted, made=shift.made)
        place = self._simulated(f"specimens {shift.made}", plan, Place.at(self.work) / f"shifts/{shift.made}.zarr")
        return self._answers(entry, Frames(place, plan, shift.name), shift.name, pool)

    def _answers(self, entry: Entry, frames: Frames, title: str, pool: ProcessPoolExecutor) -> Answers:
        with bar(title) as progress:
            return examined(entry, frames, self.work / "answers", progress, pool)

    def _compare(self, found: Probes) -> None:
        if self.probes is None:
            return
        known = kept(self.probes)
        if known is None:
            self.probes.parent.mkdir(parents=True, exist_ok=True)
            self.probes.write_text(found.model_dump_json(indent=1) + "\n")
            say(f"kept the benchmark's probes in {self.probes}")
        else:
            known.check(found)


def stable_model(store: ArtefactStore, family: str, cache: Path) -> Path:
    """The folder of the family's stable version. ValueError where there is none."""
    channel = store.channel(family, "stable")
    if channel is None:
        raise ValueError(f"{family} has no stable version in {store.url}; name another store with --store")
    return store.fetch(family, channel.version, cache)


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
