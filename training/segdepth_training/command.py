"""segdepth-train: from a recipe to a released model, step by step or all at once."""

import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segdepth_training.machine.progress import say, wide
from segdepth_training.machine.storage import Storage
from segdepth_training.runs.profile_command import profile
from segdepth_training.runs.workspace import Workspace

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", help=__doc__)

Work = Annotated[str, typer.Option("--work", help="Folder or s3://bucket/prefix of the run; a killed step goes on.")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="TOML recipe; needed once, then kept in the folder.")]
RunId = Annotated[str | None, typer.Option(help="Decides the training specimens; by default the folder's name.")]
Processes = Annotated[int, typer.Option(help="Processes on this machine; 0 = Ray tasks.")]
Here = Annotated[int, typer.Option(min=1, help="Processes on this machine.")]
CORES = os.cpu_count() or 1
Store = Annotated[
    str | None,
    typer.Option(help="Models: a folder or s3://bucket/prefix; by default SEGDEPTH_STORE_URL, or the folder models."),
]
HELD = 3
"""Exit status where another run holds the lease."""


app.command("profile")(profile)


def store_url(given: str | None) -> str:
    """Where models are registered."""
    from segdepth_artefacts import StoreSettings

    return given or StoreSettings().url or "models"


@app.command()
def simulate(
    work: Work,
    recipe: RecipeFile = None,
    run_id: RunId = None,
    processes: Processes = 0,
    device: Annotated[str | None, typer.Option(help="Compute in this process, there: cuda, for example.")] = None,
) -> None:
    """Compute the exit waves of every specimen: training, calibration and benchmark.

    Example: `segdepth-train simulate --recipe training/recipes/ceo2-110.toml --work runs/first --processes 2`
    """
    from segdepth_training.runs import steps

    steps.simulate_all(Workspace.open(work, recipe, run_id), processes, device)


@app.command()
def train(
    work: Work,
    recipe: RecipeFile = None,
    run_id: RunId = None,
    minutes: Annotated[float | None, typer.Option(help="Stop with a checkpoint after this long.")] = None,
    store: Store = None,
) -> None:
    """Train the network on the simulated exit waves, imaged anew at every step.

    Example: `segdepth-train train --work runs/first`
    """
    from segdepth_training.runs import steps

    steps.train_model(Workspace.open(work, recipe, run_id), store_url(store), minutes)


@app.command()
def adapt(
    work: Work,
    recipe: RecipeFile = None,
    run_id: RunId = None,
    model: Annotated[
        str, typer.Option(help="Model whose first stage is kept: FAMILY, FAMILY/CHANNEL or FAMILY/VERSION of --store.")
    ] = "ceo2-110/stable",
    profile: Annotated[
        Path | None,
        typer.Option(help="TOML profile of an instrument; without one for all that the recipe's second stage names."),
    ] = None,
    told: Annotated[
        bool,
        typer.Option("--told", help="Fit nothing: tell a model of all instruments the profile's ranges, in minutes."),
    ] = False,
    store: Store = None,
    processes: Here = CORES,
) -> None:
    """Refit what a released model makes of its columns to an instrument: its second stage alone.

    Two cores are enough: the network that finds the columns stays as it is. With a profile the model is of a family of
    its own (ceo2-110@titan), asked by that name. `evaluate` and `release` follow as after training; a killed run goes
    on where it stopped.

    Example: `segdepth-train adapt --profile titan.toml --recipe training/recipes/ceo2-110.toml
    --model ceo2-110/stable --store training/released --work runs/titan`
    """
    from segdepth_training.runs import adaptation

    workspace = Workspace.open(work, recipe, run_id, profile_path=profile)
    if told and "@" not in workspace.recipe.family:
        raise ValueError("--told: what is told is a profile; name one with --profile")
    adaptation.adapt(workspace, model, store_url(store), processes, told=told)


@app.command()
def calibrate(work: Work) -> None:
    """Fit the temperatures by dose, so that a stated probability is the observed accuracy.

    Example: `segdepth-train calibrate --work runs/first`
    """
    from segdepth_training.runs import steps

    steps.calibrate_model(Workspace.open(work, None, None))


@app.command()
def evaluate(
    work: Work,
    against: Annotated[
        str | None, typer.Option(help="Store whose stable version is evaluated too, on the same frames.")
    ] = None,
    processes: Here = CORES,
) -> None:
    """Score the model on specimens of the benchmark range, by dose and family, and write its report.

    Example: `segdepth-train evaluate --work runs/first`
    """
    from segdepth_training.runs import steps

    print_report(steps.evaluate_model(Workspace.open(work, None, None), against, processes))


def print_report(report: dict[str, Any]) -> None:
    """The report's main figures as a table, and the comparison with stable."""
    table = Table(title=f"{report['family']} {report['version']}, {report['specimens']} specimens")
    some = next(iter(next(iter(report["families"].values())).values()))
    species = tuple(some["by_species"])
    headings = (*("family", "e/Å²", "columns", "exact at centre", "within ±1", *species, "recall", "precision", "ECE"),)
    for heading in headings:
        table.add_column(heading, justify="right")
    for family, doses in report["families"].items():
        for dose, f in doses.items():
            centre = "{value:.3f} ({low:.3f}-{high:.3f})".format(**f["centre_class"])
            of_each = (f["by_species"][name]["exact"] for name in species)
            figures = (f["within_1"], *of_each, f["recall"], f["precision"])
            rest = [f"{figure['value']:.3f}" for figure in figures]
            table.add_row(family, dose, str(f["columns"]), centre, *rest, f"{f['ece']:.3f}")
    wide().print(table)
    if report["paired"]:
        paired = report["paired"]
        for dose, pair in paired["doses"].items():
            change = "{value:+.3f} ({low:+.3f} to {high:+.3f})".format(**pair["difference"])
            say(f"exact at centre, against {paired['stable']} on the same frames, {dose} e/Å²: {change}")


@app.command()
def bench(
    recipe: Annotated[Path, typer.Option(help="TOML recipe whose benchmark it is.")],
    work: Annotated[Path, typer.Option(help="Folder for exit waves, answers and report; a killed run goes on.")],
    size: Annotated[
        str, typer.Option(help="full (300 specimens a family), quarter (75), small (2, to try it out).")
    ] = "quarter",
    model: Annotated[
        list[Path] | None, typer.Option(help="Folder of a model, again for more; by default the stable one of --store.")
    ] = None,
    store: Store = None,
    baselines: Annotated[
        Path | None, typer.Option(help="Folder of baselines, a folder for each family, to examine beside the models.")
    ] = None,
    probes: Annotated[
        Path | None, typer.Option(help="Probes to compare the regenerated frames with; made where there are none.")
    ] = None,
    intervals: Annotated[
        Path | None, typer.Option(help="intervals.json of size full, to compare a smaller size with.")
    ] = None,
    processes: Here = CORES,
) -> None:
    """Regenerate the public benchmark and examine models on it, a report beside.

    Example: `segdepth-train bench --recipe training/recipes/ceo2-110.toml --work out/bench --store training/released`
    """
    from segdepth_artefacts import open_store
    from segdepth_training.benchmark.command import Examination, print_bars
    from segdepth_training.benchmark.definition import Size
    from segdepth_training.benchmark.reference_intervals import Intervals
    from segdepth_training.recipes.recipe import load_recipe

    if size not in list(Size):
        raise ValueError(f"--size {size}: one of {', '.join(Size)}")
    from segdepth_training.runs.stable import stable_model

    known = load_recipe(recipe)
    models = model or [stable_model(open_store(store_url(store)), known.family, work / "models")]
    full = Intervals.read(intervals) if intervals else None
    print_bars(Examination(known, work, Size(size), processes, probes, baselines, full).run(models))


@app.command()
def baseline(
    kind: Annotated[str, typer.Argument(help="mixture, regression or denoiser.")],
    work: Work,
    out: Annotated[Path, typer.Option(help="Folder of the family's baselines: FAMILY under `--baselines` of bench.")],
    recipe: RecipeFile = None,
    run_id: RunId = None,
    model: Annotated[
        Path | None, typer.Option(help="Folder of the model that segments denoised frames; by default the stable one.")
    ] = None,
    store: Store = None,
) -> None:
    """Make a baseline of the benchmark of a run's exit waves; networks are trained and calibrated.

    Example: `segdepth-train baseline regression --work runs/regression --recipe
    training/recipes/baselines/ceo2-110-regression.toml --out training/released/baselines/ceo2-110`
    """
    from segdepth_artefacts import open_store
    from segdepth_training.benchmark import mixture, networks
    from segdepth_training.runs.stable import stable_model

    kinds = (mixture.KIND, *networks.KINDS)
    if kind not in kinds:
        raise ValueError(f"{kind}: one of {', '.join(kinds)}")
    workspace, url = Workspace.open(work, recipe, run_id), store_url(store)
    if kind == mixture.KIND:
        mixture.make_library(workspace, out)
    elif kind == networks.REGRESSION:
        networks.make_regression(workspace, url, out / kind)
    else:
        with TemporaryDirectory(prefix="segdepth-") as cache:
            segments = model or stable_model(open_store(url), workspace.recipe.family, Path(cache))
            networks.make_denoiser(workspace, segments, out / kind)


@app.command()
def release(work: Work, store: Store = None, principal: str = "segdepth-train") -> None:
    """Pass the gates, write report and card, register the model and point `stable` at it.

    Example: `segdepth-train release --work runs/first --store training/released`
    """
    from segdepth_training.runs import steps

    steps.release_model(Workspace.open(work, None, None), store_url(store), principal)


@app.command()
def run(
    work: Annotated[
        str | None, typer.Option(help="Folder or s3://bucket/prefix of the run; without it the run is a scheduled one.")
    ] = None,
    recipe: RecipeFile = None,
    run_id: RunId = None,
    store: Store = None,
    processes: Processes = 0,
    candidate: Annotated[
        bool | None,
        typer.Option("--candidate/--release", help="Register a candidate, or release to `stable` through the gates."),
    ] = None,
    promote: Annotated[
        bool | None, typer.Option("--promote/--no-promote", help="A candidate, where gates allow.")
    ] = None,
    principal: str | None = None,
) -> None:
    """Everything from a recipe to a registered model; what is finished is not done again.

    With --work the model is released to `stable`, if it reaches its recipe's gates on the public benchmark.

    Without, the run is a scheduled one, set up by SEGDEPTH_TRAINING_RECIPE, _RUNS, _RUN_ID and SEGDEPTH_STORE_*: it
    takes the family's lease, evaluates on a gate set of its own, beside the present stable version on the same frames,
    and registers a candidate. Exit status 3: another run holds the lease.

    Example: `segdepth-train run --recipe training/recipes/smoke.toml --work runs/smoke --store runs/models`
    """
    from segdepth_artefacts import open_store
    from segdepth_training.machine.settings import TrainingSettings
    from segdepth_training.runs import scheduled, steps
    from segdepth_training.runs.workspace import recipe_of

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    given: dict[str, Any] = {
        "promote_automatically": promote,
        "principal": principal,
        "recipe": recipe,
        "run_id": run_id,
    }
    settings = TrainingSettings(**{name: value for name, value in given.items() if value is not None})
    storage, url = run_place(work, settings.runs, settings.run_id), store_url(store)
    if candidate if candidate is not None else work is None:
        recipe = settings.recipe
        family = recipe_of(storage, recipe).family
        name = settings.run_id or storage.name
        with scheduled.tenure(open_store(url, writable=True), family, name, settings.lease_ttl_s) as lease:
            workspace = Workspace.open(storage, recipe, name, fresh=True)
            scheduled.run_to_candidate(workspace, lease, url, settings, processes)
        print_report(steps.read_report(workspace) or {})
        return
    workspace = Workspace.open(storage, recipe, run_id)
    steps.check_start(workspace, url)
    steps.simulate_all(workspace, processes)
    steps.train_model(workspace, url)
    if not steps.is_calibrated(workspace):
        steps.calibrate_model(workspace)
    print_report(steps.read_report(workspace) or steps.evaluate_model(workspace))
    steps.release_model(workspace, url, settings.principal)


def run_place(work: str | None, runs: str, run_id: str) -> Storage:
    """Where the run is. ValueError where nothing says so."""
    if work is not None:
        return Storage.at(work)
    if not run_id:
        raise ValueError("which run? give --work, or --run-id (SEGDEPTH_TRAINING_RUN_ID) of a scheduled one")
    return Storage.at(f"{runs.rstrip('/')}/{run_id}")


@app.command()
def demo_movie(
    out: Annotated[Path, typer.Argument(help="Folder for demo.mrc and demo.truth.json.")],
    seed: Annotated[int, typer.Option(help="Draws defocus and noise.")] = 0,
) -> None:
    """Image the shipped exit waves into a noisy movie with a known truth.

    Example: `segdepth-train demo-movie out/demo`
    """
    from segdepth_training.frames.demo_movie import make_movie

    say(f"wrote {make_movie(out, seed)}")


@app.command()
def camera_scenes(
    out: Annotated[Path, typer.Argument(help="File for the scenes; the client ships segdepth/camera/scenes.npz.")],
    recipe: Annotated[Path, typer.Option(help="TOML recipe of the crystal and the microscope.")],
) -> None:
    """Simulate the scenes of the client's detector simulator: specimens that training never saw, and columns that hop.

    Example: `segdepth-train camera-scenes clients/python/segdepth/camera/scenes.npz --recipe
    training/recipes/ceo2-110.toml`
    """
    from segdepth_training.frames.camera_scenes import write_scenes
    from segdepth_training.recipes.recipe import load_recipe

    say(f"wrote {write_scenes(load_recipe(recipe), out)}")


def main() -> None:
    """Run the command line; errors that a person can mend end with status 2 and say how."""
    from segdepth_artefacts.errors import ArtefactError, LeaseHeld
    from segdepth_training.fitting.optimisation import NonFiniteLoss
    from segdepth_training.machine.cluster import NoRoom
    from segdepth_training.runs.release import GateRefused

    try:
        app()
    except (ValueError, FileNotFoundError, ImportError, NonFiniteLoss, GateRefused, ArtefactError, NoRoom) as error:
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        sys.exit(HELD if isinstance(error, LeaseHeld) else 2)
