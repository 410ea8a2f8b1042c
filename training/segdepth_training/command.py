"""segdepth-train: from a recipe to a released model, step by step or all at once."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from segdepth_training.seeds import SeedRange
from segdepth_training.workspace import Workspace

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", help=__doc__)
console = Console(stderr=True)

Work = Annotated[Path, typer.Option("--work", help="Folder of the run; a killed step goes on in it.")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="TOML recipe; needed once, then kept in the folder.")]
RunId = Annotated[str | None, typer.Option(help="Decides the training specimens; by default the folder's name.")]
Processes = Annotated[int, typer.Option(help="Processes on this machine; 0 = Ray tasks.")]
Store = Annotated[str, typer.Option(help="Where to register: a folder or s3://bucket/prefix.")]


@contextmanager
def bar(title: str) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr: call with (done, total, figures)."""
    columns = (
        *(TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
        *(TimeRemainingColumn(), TextColumn("{task.fields[figures]}")),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None, figures="")

        def show(done: int, total: int, figures: dict[str, float] | None = None) -> None:
            words = "  ".join(f"{name} {value:.3g}" for name, value in (figures or {}).items())
            progress.update(task, completed=done, total=total, figures=words)

        yield show


@app.command()
def simulate(work: Work, recipe: RecipeFile = None, run_id: RunId = None, processes: Processes = 0) -> None:
    """Compute the exit waves of every specimen: training, calibration and benchmark.

    Example: `segdepth-train simulate --recipe training/recipes/ceo2-110.toml --work runs/first --processes 2`
    """
    simulate_all(Workspace.open(work, recipe, run_id), processes)


def simulate_all(workspace: Workspace, processes: int) -> None:
    """Fill the three stores of exit waves with what they lack."""
    from segdepth_training.exit_waves import simulate as fill

    for purpose in (SeedRange.TRAIN, SeedRange.CALIBRATION, SeedRange.BENCHMARK):
        path = workspace.data(purpose).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        with bar(purpose.name.lower()) as progress:
            fill(path, workspace.plan(purpose), progress, processes=processes)


@app.command()
def train(
    work: Work,
    recipe: RecipeFile = None,
    run_id: RunId = None,
    minutes: Annotated[float | None, typer.Option(help="Stop with a checkpoint after this long.")] = None,
) -> None:
    """Train the network on the simulated exit waves, imaged anew at every step.

    Example: `segdepth-train train --work runs/first`
    """
    train_model(Workspace.open(work, recipe, run_id), minutes)


def train_model(workspace: Workspace, minutes: float | None = None) -> None:
    """Train to the recipe's last step and write the weights, unless that is done already."""
    from segdepth_training import model
    from segdepth_training.optimisation import steps_done
    from segdepth_training.train import train as run

    if (workspace.model / model.MANIFEST).exists():
        return
    with bar("training") as progress:
        checkpoint = run(workspace.run(minutes), progress)
    done, steps = steps_done(checkpoint), workspace.recipe.training.steps
    if done < steps:
        console.print(f"stopped at step {done} of {steps}; the same command goes on from there")
        return
    model.export_weights(checkpoint, workspace.recipe, workspace.model)
    model.draft(workspace.model, workspace.recipe, workspace.seeds)


@app.command()
def calibrate(work: Work) -> None:
    """Fit the temperatures by dose, so that a stated probability is the observed accuracy.

    Example: `segdepth-train calibrate --work runs/first`
    """
    calibrate_model(Workspace.open(work, None, None))


def calibrate_model(workspace: Workspace) -> None:
    """Calibrate the model in the making."""
    from segdepth_training.calibrate import calibrate as fit

    purpose = SeedRange.CALIBRATION
    with bar("calibration") as progress:
        fit(workspace.model, workspace.data(purpose), workspace.plan(purpose), workspace.recipe.calibration, progress)


@app.command()
def evaluate(work: Work) -> None:
    """Score the model on specimens of the benchmark range, by dose and family, and write its report.

    Example: `segdepth-train evaluate --work runs/first`
    """
    print_report(evaluate_model(Workspace.open(work, None, None)))


def evaluate_model(workspace: Workspace) -> dict[str, Any]:
    """Evaluate the model in the making; returns its report."""
    from segdepth_training.evaluate import evaluate as judge

    purpose = SeedRange.BENCHMARK
    with bar("evaluation") as progress:
        return judge(
            workspace.model, workspace.data(purpose), workspace.plan(purpose), workspace.recipe.benchmark, progress
        )


def read_report(workspace: Workspace) -> dict[str, Any] | None:
    """The report on the model in the making, if there is one."""
    from segdepth_training.evaluate import REPORT

    path = workspace.model / REPORT
    return dict(json.loads(path.read_text())) if path.exists() else None


def print_report(report: dict[str, Any]) -> None:
    """The report's main figures as a table."""
    table = Table(title=f"{report['family']} {report['version']}, {report['specimens']} specimens")
    headings = ("family", "e/Å²", "columns", "exact at centre", "within ±1", "Ce", "O", "recall", "precision", "ECE")
    for heading in headings:
        table.add_column(heading, justify="right")
    for family, doses in report["families"].items():
        for dose, f in doses.items():
            centre = "{value:.3f} ({low:.3f}-{high:.3f})".format(**f["centre_class"])
            names = ("within_1", "exact_cerium", "exact_oxygen", "recall", "precision")
            rest = [f"{f[name]['value']:.3f}" for name in names]
            table.add_row(family, dose, str(f["columns"]), centre, *rest, f"{f['ece']:.3f}")
    Console().print(table)


@app.command()
def release(work: Work, store: Store = "models", principal: str = "segdepth-train") -> None:
    """Pass the gates, write report and card, register the model and point `stable` at it.

    Example: `segdepth-train release --work runs/first --store training/released`
    """
    release_model(Workspace.open(work, None, None), store, principal)


def release_model(workspace: Workspace, store: str, principal: str) -> None:
    """Release the model in the making."""
    from segdepth_artefacts import open_store
    from segdepth_training.evaluate import REPORT
    from segdepth_training.release import release as publish

    report = read_report(workspace)
    if report is None:
        raise FileNotFoundError(f"{workspace.model / REPORT} is missing; run segdepth-train evaluate first")
    gates = workspace.recipe.gates
    manifest = publish(workspace.model, open_store(store), gates, report, principal=principal)
    console.print(f"released {manifest.family} {manifest.version} to {store}")


@app.command()
def run(
    work: Work,
    recipe: RecipeFile = None,
    run_id: RunId = None,
    store: Store = "models",
    processes: Processes = 0,
    principal: str = "segdepth-train",
) -> None:
    """Everything from a recipe to a released model; what is finished is not done again.

    Example: `segdepth-train run --recipe training/recipes/smoke.toml --work runs/smoke --store runs/models`
    """
    from segdepth_training import model

    workspace = Workspace.open(work, recipe, run_id)
    simulate_all(workspace, processes)
    train_model(workspace)
    if not model.calibrated(workspace.model):
        calibrate_model(workspace)
    print_report(read_report(workspace) or evaluate_model(workspace))
    release_model(workspace, store, principal)


@app.command()
def demo_movie(
    out: Annotated[Path, typer.Argument(help="Folder for demo.mrc and demo.truth.json.")],
    seed: Annotated[int, typer.Option(help="Draws defocus and noise.")] = 0,
) -> None:
    """Image the shipped exit waves into a noisy movie with a known truth.

    Example: `segdepth-train demo-movie out/demo`
    """
    from segdepth_training.demo import make_movie

    console.print(f"wrote {make_movie(out, seed)}")


def main() -> None:
    """Run the command line; errors that a person can mend end with status 2 and say how."""
    from segdepth_artefacts.errors import ArtefactError
    from segdepth_training.optimisation import NonFiniteLoss
    from segdepth_training.release import GateRefused

    try:
        app()
    except (ValueError, FileNotFoundError, ImportError, NonFiniteLoss, GateRefused, ArtefactError) as error:
        console.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        sys.exit(2)
