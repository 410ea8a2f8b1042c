"""The store of exit waves: each computed once, kept in zarr, imaged many times. Resumable at any moment."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor

from segdepth_training.frames.multislice import exit_waves
from segdepth_training.frames.potential import Atoms
from segdepth_training.machine.processes import in_processes
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.recipes.seeds import SeedRange, generator
from segdepth_training.specimens.families import draw_for_benchmark
from segdepth_training.specimens.projection import project
from segdepth_training.specimens.specimen import FAMILIES, Specimen, draw
from segdepth_training.specimens.surfaces import SURFACES

MOST_COLUMNS = 1400
"""Columns of a specimen that a store has room for."""

COLUMN = 5
"""Figures of a column, as `Specimen.columns` has them."""

RULES = 2
"""Counts up whenever the same seed gives another specimen, or a store another layout."""

DRAWN_FOR_TRAINING = ("kinds", "thick_share", "perturbed_share", "perturbed_columns")
"""What of `specimens` says how training's are drawn, and nothing about the benchmark's."""

ARRAYS = ("waves", "columns", "facts")

TASK = 4
"""Specimens that one task computes."""


@dataclass(frozen=True)
class Plan:
    """Which specimens a store holds. Two stores with the same plan hold the same specimens."""

    recipe: Recipe
    purpose: SeedRange
    seed: int
    specimens: int
    families: tuple[str, ...] = FAMILIES
    in_turn: bool = False
    """One family after the other, so that each has its share, instead of as the recipe's weights draw them."""

    def specimen(self, index: int) -> Specimen:
        """One of them. The benchmark's own are drawn by its rules, family by family."""
        numbers, limits = generator(self.purpose, self.seed, index), self.recipe.specimens
        projection = project(self.recipe.crystal)
        family = self.families[index % len(self.families)]
        if self.purpose == SeedRange.BENCHMARK:
            return draw_for_benchmark(numbers, projection, limits, family)
        return draw(numbers, projection, limits, (family,) if self.in_turn else self.families)

    @property
    def points(self) -> int:
        """Samples along a side of a stored exit wave."""
        return round(self.recipe.specimens.cell_A / self.recipe.multislice.stored_sampling_A)

    @property
    def digest(self) -> str:
        """Over everything that decides what is in the store, except how many."""
        parts = self.recipe.model_dump(mode="json", include={"crystal", "specimens", "multislice"})
        if self.purpose == SeedRange.BENCHMARK:  # Its own rules decide these.
            parts["specimens"] = {name: v for name, v in parts["specimens"].items() if name not in DRAWN_FOR_TRAINING}
        if self.recipe.multislice.placing == "bilinear":  # As it was without a choice: stores keep their digests.
            del parts["multislice"]["placing"]
        text = json.dumps(
            [RULES, parts, self.recipe.microscope.energy_keV, self.purpose, self.seed, self.families, self.in_turn],
            sort_keys=True,
        )
        return hashlib.sha256(text.encode()).hexdigest()


def prepare_store(storage: Storage, plan: Plan) -> None:
    """Create or extend the store of a plan. Raises ValueError where it holds something else, or has too little room."""
    limits = plan.recipe.specimens
    most = len(project(plan.recipe.crystal).columns(limits.cell_A / 2))
    if most > MOST_COLUMNS:
        raise ValueError(
            f"specimens.cell_A = {limits.cell_A:g}: some {most} columns, more than {MOST_COLUMNS}; make it smaller"
        )
    nearest_A = project(plan.recipe.crystal).nearest_A
    if nearest_A <= 2 * plan.recipe.training.disk_A:
        raise ValueError(
            f"crystal: its columns are only {nearest_A:.3g} Å apart; training.disk_A = {plan.recipe.training.disk_A:g}"
            " must be less than half of that, or the labels of neighbours overlap"
        )
    group: Any = zarr.open_group(storage.arrays(), mode="a")
    if "digest" in group.attrs:
        if group.attrs["digest"] != plan.digest:
            raise ValueError(
                f"{storage} holds exit waves of another recipe or seed, or of an earlier version of this program; give"
                " another --work folder or delete it"
            )
        if group["facts"].shape[0] < plan.specimens:
            for name in ARRAYS:
                array = group[name]
                array.resize((plan.specimens, *array.shape[1:]))
        return
    shapes = {
        "waves": ((plan.points, plan.points), "complex64", 0),
        "columns": ((MOST_COLUMNS, COLUMN), "float32", np.nan),
        # Columns in use, index of kind, index of family: written last, so that -1 says the specimen is not done.
        "facts": ((3,), "int16", -1),
    }
    for name, (shape, dtype, fill) in shapes.items():
        # Overwrite: without the digest nothing has been computed yet, but a killed run may have left arrays.
        group.create_array(
            name,
            shape=(plan.specimens, *shape),
            chunks=(1, *shape),
            dtype=dtype,
            fill_value=fill,
            compressors=None,
            overwrite=True,
        )
    group.attrs["digest"] = plan.digest


def missing(storage: Storage, specimens: int) -> list[int]:
    """Indices of specimens that are not in the store yet, or not whole."""
    try:
        group: Any = zarr.open_group(storage.arrays(), mode="r")
    except FileNotFoundError:
        return list(range(specimens))
    if "digest" not in group.attrs:
        return list(range(specimens))
    whole = whole_specimens(storage, group)
    return [index for index in range(specimens) if index not in whole]


def whole_specimens(storage: Storage, group: Any) -> set[int]:
    """Indices of specimens whose every chunk is there in full length: zarr reads an absent one as its fill value."""
    sizes, whole = storage.sizes(), set(range(group["facts"].shape[0]))
    for name in ARRAYS:
        array = group[name]
        size_bytes = math.prod(array.chunks) * array.dtype.itemsize
        rest = "/0" * (array.ndim - 1)
        whole &= {index for index in whole if sizes.get(f"{name}/c/{index}{rest}") == size_bytes}
    facts = group["facts"]
    if len(whole) == facts.shape[0]:
        return whole & {int(i) for i in np.flatnonzero(np.asarray(facts[:])[:, 0] >= 0)}
    return {index for index in whole if int(np.asarray(facts[index])[0]) >= 0}


def compute(storage: Storage, plan: Plan, indices: list[int], device: str = "cpu") -> int:
    """Compute and store the exit waves of some specimens; returns how many."""
    torch.set_num_threads(1)
    settings, microscope = plan.recipe.multislice, plan.recipe.microscope
    # Small arrays stay in a core's cache; a GPU wants as much as it can get at once.
    batch = 1 if device == "cpu" else len(indices)
    # A specimen without columns has a chunk too: an absent one means that it was not written.
    with zarr.config.set({"array.write_empty_chunks": True}), torch.no_grad():
        group: Any = zarr.open_group(storage.arrays(), mode="r+")
        for start in range(0, len(indices), batch):
            chosen = indices[start : start + batch]
            specimens = [plan.specimen(index) for index in chosen]
            waves = exit_waves(Atoms.of(specimens, device), settings, microscope).cpu().numpy()
            for index, specimen, wave in zip(chosen, specimens, waves, strict=True):
                write(group, index, specimen, wave)
    return len(indices)


def write(group: Any, index: int, specimen: Specimen, wave: NDArray[np.complex64]) -> None:
    """One specimen, its facts last."""
    columns = np.full((MOST_COLUMNS, COLUMN), np.nan, np.float32)
    columns[: len(specimen.columns)] = specimen.columns
    group["waves"][index] = wave
    group["columns"][index] = columns
    kind, family = SURFACES.index(specimen.kind), FAMILIES.index(specimen.family)
    group["facts"][index] = np.array([len(specimen.columns), kind, family], np.int16)


def simulate(
    storage: Storage,
    plan: Plan,
    progress: Callable[[int, int], None],
    *,
    processes: int = 0,
    device: str | None = None,
) -> None:
    """Fill the store with what is missing.

    On Ray, or in `processes` processes of this machine where given, or in this one on a `device` (`cuda`).
    progress(done, total) is called as specimens finish. A killed run goes on where it stopped.
    """
    prepare_store(storage, plan)
    todo = missing(storage, plan.specimens)
    tasks = [todo[i : i + TASK] for i in range(0, len(todo), TASK)]
    done = plan.specimens - len(todo)
    progress(done, plan.specimens)
    if not tasks:
        return
    for count in running(storage, plan, tasks, processes, device):
        done += count
        progress(done, plan.specimens)


def running(storage: Storage, plan: Plan, tasks: list[list[int]], processes: int, device: str | None) -> Iterator[int]:
    """The tasks, wherever they are to run; how many specimens each has done, as it ends."""
    if device is not None:
        return (compute(storage, plan, task, device) for task in tasks)
    if not processes:
        return on_ray(storage, plan, tasks)
    # A forked process cannot use the threads of its parent's client of a bucket.
    start = "spawn" if storage.remote else None
    return (count for _, count in in_processes(compute, [(storage, plan, task) for task in tasks], processes, start))


def on_ray(storage: Storage, plan: Plan, tasks: list[list[int]]) -> Iterator[int]:
    """Run the tasks as Ray tasks, one core each, at most 64 under way."""
    from segdepth_training.machine import cluster

    cluster.connect()  # Before Ray is imported: it reads its environment then.
    import ray

    cluster.await_room([{"CPU": 1}], "a task of the simulation")
    remote = ray.remote(num_cpus=1, max_retries=3, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})(compute)
    waiting = list(reversed(tasks))
    running: list[Any] = []
    while waiting or running:
        while waiting and len(running) < 64:
            running.append(remote.remote(storage, plan, waiting.pop()))
        ready, running = ray.wait(running)
        yield from cluster.results(ready)


@dataclass(frozen=True)
class ExitWaves:
    """Exit waves in memory: waves [N, H, H], columns [N, M, 5] (NaN-padded), kind and family index [N].

    They are specimens `first`, `first` + 1, ... of their plan.
    """

    waves: Tensor
    columns: Tensor
    kind: Tensor
    family: Tensor
    side_A: float
    first: int = 0

    def __len__(self) -> int:
        return len(self.waves)


def spoilt(waves: Tensor, columns: Tensor, number: NDArray[np.int16], first: int) -> list[int]:
    """Indices of specimens, from `first`, with a wave that is not finite everywhere, or columns that are not there."""
    bad = []
    for index, (wave, rows, count) in enumerate(zip(waves, columns, number.tolist(), strict=True), first):
        # A sum is finite only where every part is, and needs no second array.
        if not bool(torch.view_as_real(wave).sum().isfinite()) or not bool(rows[:count].isfinite().all()):
            bad.append(index)
    return bad


def load(storage: Storage, plan: Plan, device: torch.device, span: range | None = None) -> ExitWaves:
    """Exit waves of a plan on the device, all or a span of them. Raises ValueError where some are missing."""
    span = range(plan.specimens) if span is None else span
    absent = [index for index in missing(storage, plan.specimens) if index in span]
    if absent:
        some = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
        raise ValueError(
            f"{storage}: {len(absent)} of {len(span)} exit waves are missing or incomplete (specimens {some});"
            " run segdepth-train simulate"
        )
    group: Any = zarr.open_group(storage.arrays(), mode="r")
    if group.attrs["digest"] != plan.digest:
        raise ValueError(f"{storage} holds exit waves of another recipe or seed")
    facts = np.asarray(group["facts"][span.start : span.stop])
    most = int(facts[:, 0].max())
    waves = torch.empty((len(span), plan.points, plan.points), dtype=torch.complex64, device=device)
    for start in range(span.start, span.stop, 64):
        stop = min(start + 64, span.stop)
        part = torch.from_numpy(np.asarray(group["waves"][start:stop]))
        waves[start - span.start : stop - span.start] = part.to(device)
    columns = torch.from_numpy(np.asarray(group["columns"][span.start : span.stop])[:, :most].copy()).to(device)
    if broken := spoilt(waves, columns, facts[:, 0], span.start):
        raise ValueError(
            f"{storage}: exit waves or columns of specimens {', '.join(map(str, broken[:5]))} are no numbers; delete"
            f" {', '.join(f'{name}/c/{broken[0]}' for name in ARRAYS)} (and those of the others), then run"
            " segdepth-train simulate"
        )
    kind, family = (torch.from_numpy(facts[:, i].astype(np.int64)) for i in (1, 2))
    return ExitWaves(waves, columns, kind, family, plan.recipe.specimens.cell_A, span.start)
