"""Simulated movies, and what tracking says of them."""

import pickle
from pathlib import Path

import segdepth
from segdepth.tracks import TrackedFrame, Tracking
from segdepth_training.frames.hopping_movies import HoppingMovie, hopping_movie
from segdepth_training.recipes.recipe import load_recipe

RECIPE = Path(__file__).parents[3] / "training" / "recipes" / "ceo2-110.toml"
OUT = Path("out/tracks")


def tracked_movie(task: tuple[int, int, float, int, Tracking]) -> tuple[HoppingMovie, list[TrackedFrame]]:
    """A movie (seed, number, dose [e/Å²], frames) and its tracks. It is simulated once and kept."""
    seed, index, dose, frames, settings = task
    kept = OUT / "movies" / f"{seed}-{index:04d}-{dose:g}-{frames}.pkl"
    if kept.exists():
        movie = pickle.loads(kept.read_bytes())
    else:
        movie = hopping_movie(load_recipe(RECIPE), seed, index, dose, frames)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps(movie))
    with segdepth.connect("local") as client:
        return movie, list(client.track(movie.frames, movie.sampling_A, tracking=settings))
