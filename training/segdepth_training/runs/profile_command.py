"""segdepth-train profile: measures an instrument by its own frames, or says which frames lie outside its profile."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from segdepth_training.machine.progress import bar, say

Movies = Annotated[
    list[Path], typer.Argument(help="MRC or NPY files of the recipe's crystal. Each shows one specimen at one focus.")
]
RecipeFile = Annotated[Path, typer.Option("--recipe", help="TOML recipe of the crystal; its microscope is assumed.")]
Known = Annotated[
    Path | None, typer.Option(help="Profile of what is known already; what it states is assumed, and written again.")
]
FocalStep = Annotated[
    float | None, typer.Option(help="Each file is one series through focus, so far from frame to frame [Å].")
]
Apart = Annotated[bool, typer.Option("--apart", help="Frames of a file are of different specimens or foci.")]
Sampling = Annotated[float | None, typer.Option(help="Pixel size [Å/px]; by default the file's.")]
Black = Annotated[float, typer.Option(help="Counts of a pixel that no electron reached, if not subtracted.")]
Model = Annotated[Path | None, typer.Option(help="Folder of the model that finds columns; by default --store's.")]
Store = Annotated[str | None, typer.Option(help="Models; by default those that ship with SegDepth.")]


def profile(
    movies: Movies,
    recipe: RecipeFile,
    out: Annotated[Path | None, typer.Option(help="Profile to write; its name is the file's.")] = None,
    check: Annotated[Path | None, typer.Option(help="Profile: say which frames lie outside it instead.")] = None,
    known: Known = None,
    focal_step: FocalStep = None,
    apart: Apart = False,
    sampling: Sampling = None,
    black: Black = 0.0,
    model: Model = None,
    store: Store = None,
) -> None:
    """Measure an instrument by frames of a crystal that a recipe knows: contrast, vibration, noise, gain.

    Best is a thin, even region through focus: 8 frames of 500 e/Å² in steps of 10 Å. The profile says what is measured
    how surely, and what is left to be stated by hand. Takes some minutes: regressors are trained for these frames.

    With --check: which frames lie outside a profile, and in what; exit status 1 if any do.

    Example: `segdepth-train profile series.mrc --recipe training/recipes/ceo2-110.toml --focal-step 10
    --out titan.toml`
    """
    from segdepth_artefacts import open_store
    from segdepth_core.predictor import Predictor
    from segdepth_core.released import released_store
    from segdepth_training.frames.movie_files import MovieFile
    from segdepth_training.recipes.profile import Profile
    from segdepth_training.recipes.recipe import load_recipe
    from segdepth_training.runs.instrument import Asked, look, regressor, tell, with_known
    from segdepth_training.runs.profile_check import print_outside
    from segdepth_training.runs.profile_text import ranges, text_of
    from segdepth_training.runs.stable import stable_model

    if (out is None) == (check is None):
        raise ValueError("give either --out, a profile to write, or --check, one to compare with")
    if out is not None and out.exists():
        raise ValueError(f"{out} is there already; name another file, or remove it")
    if focal_step is not None and (apart or not 1 <= abs(focal_step) <= 200):
        raise ValueError("--focal-step: from 1 to 200 Å, negative towards underfocus; not together with --apart")
    name = Profile(name=out.stem, description="").name if out is not None else ""
    plain, asked = load_recipe(recipe), Asked(focal_step, apart, black)
    stated, compared = (Profile.load(path) if path is not None else None for path in (known, check))
    assumed = with_known(plain, compared or stated)
    files = [MovieFile.open(path, sampling) for path in movies]
    with TemporaryDirectory(prefix="segdepth-") as cache:
        folder = model or stable_model(open_store(store or str(released_store())), plain.family, Path(cache))
        groups = look(files, Predictor.load(folder), assumed, asked, bar)
    of = regressor(assumed, groups, asked, bar)
    if compared is not None:
        if print_outside(groups, of, compared, compared.applied_to(plain), asked):
            raise typer.Exit(1)
        return
    assert out is not None
    told = tell(groups, of, asked)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text_of(told, assumed, name, stated, asked), "utf-8")
    Profile.load(out).applied_to(plain)
    for quantity, (low, high) in ranges(told).items():
        say(f"{quantity}: {low:g} to {high:g}")
    say(f"wrote {out}: read its comments, and state by hand what frames do not tell")
