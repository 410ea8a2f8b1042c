"""A noisy movie with a known truth, from exit waves that ship with the product: specimens training never saw."""

import json
from pathlib import Path
from typing import Any

import mrcfile  # type: ignore[import-untyped]
import numpy as np
import torch
from numpy.typing import NDArray

from segdepth_training.frames.batches import frames_of_waves
from segdepth_training.frames.exit_waves import Plan, load
from segdepth_training.frames.imaging import draw_exposure, draw_optics
from segdepth_training.frames.labels import View
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.recipe import Camera, Microscope
from segdepth_training.recipes.seeds import SeedRange, generator

SHIPPED = Path(__file__).parents[2] / "released" / "demo" / "exit-waves.npz"
SAMPLING_A = 0.1
FIELD_PX = 512
DOSES = (100.0, 200.0, 500.0, 1000.0, 2000.0)
FRAMES = 4
"""Frames of each specimen and dose."""

CAMERA = Camera(correlated_share=0, read_noise=(0, 0), mtf_px=(0, 0.3))
"""A counting camera: every pixel is a number of electrons."""


def ship(data: Storage, plan: Plan, indices: list[int], path: Path = SHIPPED) -> None:
    """Keep some exit waves of a store in one small file (float16), with their columns."""
    if plan.purpose != SeedRange.BENCHMARK:
        raise ValueError("only specimens of the benchmark range may ship: the others were trained or calibrated on")
    waves = load(data, plan, torch.device("cpu"))
    parts: dict[str, Any] = {"side_A": np.float64(waves.side_A), "species": list(plan.recipe.crystal.elements)}
    for number, index in enumerate(indices):
        wave = waves.waves[index].numpy()
        parts[f"wave{number}"] = np.stack([wave.real, wave.imag]).astype(np.float16)
        columns = waves.columns[index].numpy()
        parts[f"columns{number}"] = columns[np.isfinite(columns[:, 0])]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **parts)


def make_movie(out: Path, seed: int) -> Path:
    """Write demo.mrc (electron counts, 0.1 Å/px in its header) and demo.truth.json to `out`; returns the movie's path.

    Each specimen is seen at one defocus and five doses, several frames each.
    """
    shipped = np.load(SHIPPED)
    side_A = float(shipped["side_A"])
    species = tuple(map(str, shipped["species"])) if "species" in shipped else ("Ce", "O")
    origin = (round(side_A / SAMPLING_A) - FIELD_PX) // 2
    view = View(SAMPLING_A, (origin, origin), FIELD_PX, FIELD_PX)
    frames: list[NDArray[np.uint16]] = []
    truth: list[dict[str, object]] = []
    for number in range(sum(name.startswith("wave") for name in shipped)):
        parts = shipped[f"wave{number}"].astype(np.float32)
        wave = torch.from_numpy(parts[0] + 1j * parts[1])
        columns = seen(shipped[f"columns{number}"], view, species)
        for dose in DOSES:
            frames += list(imaged(wave, side_A, view, dose, (seed, number)))
            truth += [{"dose": dose, "columns": columns}] * FRAMES
    out.mkdir(parents=True, exist_ok=True)
    path = out / "demo.mrc"
    with mrcfile.new(path, overwrite=True) as movie:
        movie.set_data(np.stack(frames))
        movie.set_image_stack()
        movie.voxel_size = SAMPLING_A
    (out / "demo.truth.json").write_text(json.dumps({"sampling_A": SAMPLING_A, "frames": truth}))
    return path


def imaged(wave: torch.Tensor, side_A: float, view: View, dose: float, seeds: tuple[int, int]) -> NDArray[np.uint16]:
    """FRAMES frames [n, H, W] of one specimen at one dose [e/Å²], in electrons."""
    microscope = Microscope(defocus_A=(30, 70), focal_spread_A=(30, 30))
    scene = int(generator(SeedRange.BENCHMARK, seeds[0], 10**6, seeds[1]).integers(2**62))
    optics = draw_optics(torch.Generator().manual_seed(scene), microscope, 1)
    numbers = torch.Generator().manual_seed(scene + round(dose))
    optics = type(optics)(**{name: value.expand(FRAMES) for name, value in vars(optics).items()})
    exposure = draw_exposure(numbers, CAMERA, FRAMES, dose=torch.full((FRAMES,), dose))
    waves = wave.expand(FRAMES, *wave.shape)
    counts = frames_of_waves(waves, side_A, (optics, exposure), view, microscope, numbers)
    return counts.round().numpy().astype(np.uint16)


def seen(columns: NDArray[np.float32], view: View, elements: tuple[str, ...]) -> list[list[object]]:
    """Columns in the view as (x [Å], y [Å], atoms, element), (0, 0) the centre of the top-left pixel."""
    rows: list[list[object]] = []
    for x, y, atoms, species in columns[:, :4]:
        x_A, y_A = float(x) - view.origin[1] * view.pixel_A, float(y) - view.origin[0] * view.pixel_A
        if max(abs(x_A - FIELD_PX * SAMPLING_A / 2), abs(y_A - FIELD_PX * SAMPLING_A / 2)) < FIELD_PX * SAMPLING_A / 2:
            rows.append([round(x_A, 3), round(y_A, 3), int(atoms), elements[int(species)]])
    return rows
