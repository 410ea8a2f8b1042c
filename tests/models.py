"""Small models for tests: the real network, trained for two seconds on blobs of a lattice, in a real store.

    store = tiny_store(tmp_path / "store")                  # family "tiny", version "1", channel stable
    add_family(store, "gold", spacing_A=3.4)                # another beside it, of one species and another lattice
    frame = lattice_frame(seed=3)                           # on which that model finds columns

They know nothing of electron microscopy, and answer as any model does.
"""

from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from segdepth_artefacts import open_store
from segdepth_artefacts.manifest import (
    Calibration,
    Domain,
    Engine,
    File,
    Manifest,
    Pooling,
    Range,
    Reflection,
    TemperatureTable,
)
from segdepth_core.network import UNet, UNetConfig
from segdepth_core.prepare import canonical_shape, prepare
from segdepth_core.released import released_store
from segdepth_core.weights import network_of, save_weights

FAMILY = "tiny"
CANONICAL_A = 0.2
SPACING_A = 2.7
"""Distance between the columns of `lattice_frame` [Å]."""


def lattice_positions(
    shape: tuple[int, int], sampling_A: float, seed: int, spacing_A: float = SPACING_A
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Positions (x, y) [px] and atoms (1-9) of a square lattice of columns, turned and shifted by the seed."""
    rng = np.random.default_rng([seed, 17])
    field_A = np.array([shape[1], shape[0]]) * sampling_A
    reach = int(np.ceil(field_A.max() / spacing_A)) + 2
    i, j = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    angle = rng.uniform(0, np.pi / 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    xy_A = (np.stack([i.ravel(), j.ravel()], 1) * spacing_A + rng.uniform(0, spacing_A, 2)) @ turn.T + field_A / 2
    inside = ((xy_A > 0.5) & (xy_A < field_A - 0.5)).all(1)
    xy_px = xy_A[inside] / sampling_A - 0.5
    return xy_px, rng.integers(1, 10, len(xy_px))


def lattice_frame(
    seed: int = 0,
    shape: tuple[int, int] = (256, 256),
    sampling_A: float = 0.1,
    dose: float = 2000.0,
    spacing_A: float = SPACING_A,
    noise: int | None = None,
) -> NDArray[np.uint16]:
    """Counts of a frame of bright columns, brighter the more atoms, at `dose` [e/Å²]; a movie's differ in `noise`."""
    xy_px, atoms = lattice_positions(shape, sampling_A, seed, spacing_A)
    y, x = np.mgrid[: shape[0], : shape[1]]
    wide_px = 0.45 / sampling_A
    intensity = np.ones(shape)
    for (cx, cy), count in zip(xy_px, atoms, strict=True):
        intensity += 0.1 * count * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / wide_px**2)
    rng = np.random.default_rng([seed if noise is None else noise, 23])
    return (20 * rng.poisson(intensity / intensity.mean() * dose * sampling_A**2)).astype(np.uint16)


def released_model() -> Path:
    """Folder of the released model."""
    store = open_store(str(released_store()))
    family = store.default_family()
    channel = store.channel(family, "stable")
    assert channel is not None
    return released_store() / "models" / family / channel.version


def tiny_store(folder: Path, *, strict_domain: bool = False, versions: int = 1) -> Path:
    """A store in `folder` with family "tiny", versions "1" ... as many as asked for; `stable` points at "1".

    Every version answers differently in its last digits. With `strict_domain` only frames are known that look like
    `lattice_frame` (sampling 0.05-0.26 Å/px, field from 20 Å, dose from 100 e/Å², its lattice); otherwise nearly all.
    """
    for number in range(1, versions + 1):
        add_version(folder, str(number), seed=number, strict_domain=strict_domain)
    point(folder, "1")
    return folder


def add_family(folder: Path, family: str, *, spacing_A: float, finest_A: float = 0.05) -> Manifest:
    """Register version "1" of another family, which knows columns of gold at that distance alone; `stable` is it.

    `finest_A`: the smallest sampling that it takes [Å/px].
    """
    staging = folder.parent / f".staging-{folder.name}-{family}"
    manifest = tiny_model(staging, strict_domain=True, family=family, spacing_A=spacing_A, species=("Au",))
    sampling = manifest.domain.checks["sampling"].model_copy(update={"lower": finest_A})
    domain = manifest.domain.model_copy(update={"checks": {**manifest.domain.checks, "sampling": sampling}})
    manifest = manifest.model_copy(update={"domain": domain})
    open_store(str(folder)).register(manifest, {name: staging / name for name in manifest.files})
    point(folder, "1", family=family)
    return manifest


def add_version(
    folder: Path, version: str, *, seed: int, strict_domain: bool = False, engines: tuple[Engine, ...] = ()
) -> Manifest:
    """Register one more version of the family "tiny" in the store at `folder`."""
    staging = folder.parent / f".staging-{folder.name}-{version}"
    manifest = tiny_model(staging, version, seed=seed, strict_domain=strict_domain, engines=engines)
    open_store(str(folder)).register(manifest, {name: staging / name for name in manifest.files})
    return manifest


def point(folder: Path, version: str, channel: str = "stable", family: str = FAMILY) -> None:
    """Point a channel of a family at a version."""
    store = open_store(str(folder))
    now = store.channel(family, channel)
    store.point(family, channel, version, principal="tests", reason="a test", expected=now)


def tiny_model(
    folder: Path,
    version: str = "1",
    *,
    seed: int = 1,
    strict_domain: bool = False,
    engines: tuple[Engine, ...] = (),
    family: str = FAMILY,
    spacing_A: float = SPACING_A,
    species: tuple[str, ...] = ("Ce", "O"),
) -> Manifest:
    """Write weights.safetensors, report.json, card.md and manifest.json to `folder`, as a fetched version has them."""
    folder.mkdir(parents=True, exist_ok=True)
    network = trained(seed, len(species))
    save_weights(network, folder / "weights.safetensors")
    (folder / "report.json").write_text("{}\n")
    (folder / "card.md").write_text("# A model for tests\n")
    names = ("weights.safetensors", "report.json", "card.md")
    manifest = Manifest(
        family=family,
        version=version,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        code_version="tests",
        files={name: described(folder / name) for name in names},
        network=network_of(network),
        canonical_sampling_A=CANONICAL_A,
        species=species,
        domain=strict(spacing_A) if strict_domain else wide(),
        calibration=Calibration(
            pixel=TemperatureTable(dose=(100.0, 1000.0), temperature=(1.2, 1.0)),
            column=TemperatureTable(dose=(100.0, 1000.0), temperature=(1.1, 0.9)),
            species=TemperatureTable(dose=(1000.0,), temperature=(1.0,)),
            abstain_below=0.4,
        ),
        pooling=Pooling(prior=((1 / 11,) * 11,) * len(species), dose=(100.0, 1000.0), correlation=(0.1, 0.3), hop=0.02),
        engines=engines
        or (
            Engine(name="torch-fp32", counts_equal=1.0, ece_difference=0.0),
            Engine(name="torch-bf16", counts_equal=0.9, ece_difference=0.01),
        ),
        recipe={"name": family},
        seeds={"train": seed},
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return manifest


def described(path: Path) -> File:
    """A file as a manifest names it."""
    return File(sha256=sha256(path.read_bytes()).hexdigest(), size_bytes=path.stat().st_size)


def wide() -> Domain:
    """Nearly every frame is known."""
    return Domain(
        description="anything",
        checks={"sampling": Range(lower=0.02, upper=0.4, unit="Å/px"), "snr": Range(lower=1.0, unit="e/Å²")},
    )


def strict(spacing_A: float = SPACING_A) -> Domain:
    """Only frames like `lattice_frame` are known, of that distance between the columns."""
    checks = {
        "sampling": Range(lower=0.05, upper=0.26, unit="Å/px"),
        "field": Range(lower=20.0, upper=300.0, unit="Å"),
        "snr": Range(lower=100.0, ok_lower=200.0, unit="e/Å²"),
        "lattice": Range(lower=0.96, upper=1.04, ok_lower=0.985, ok_upper=1.015),
    }
    lattice = [(1.0, 0.0), (1.0, 90.0), (2**0.5, 45.0), (2**0.5, 135.0)]
    reflections = tuple(Reflection(spacing_A=spacing_A / order, azimuth_deg=azimuth) for order, azimuth in lattice)
    return Domain(description="a square lattice of bright columns", checks=checks, reflections=reflections)


def trained(seed: int, species: int = 2) -> UNet:
    """A network of three levels that has seen a few dozen small frames of `lattice_frame`'s kind."""
    threads = torch.get_num_threads()
    # So small a network gains nothing from a second thread, and waits for it where the machine is busy.
    torch.set_num_threads(1)
    try:
        return _train(seed, species)
    finally:
        torch.set_num_threads(threads)


@cache
def _train(seed: int, species: int) -> UNet:
    torch.manual_seed(seed)
    network = UNet(UNetConfig(widths=(12, 16, 16), decoder_blocks=(1, 1), species=species))
    samples = [_sample(1000 * seed + number) for number in range(24)]
    x_BHW, depth_BHW, species_BHW, centre_BHW = (torch.stack(parts) for parts in zip(*samples, strict=True))
    optimiser = torch.optim.AdamW(network.parameters(), lr=8e-3)
    for step in range(120):
        batch = torch.arange(step * 6, step * 6 + 6) % len(x_BHW)
        heads = network(x_BHW[batch])
        loss = F.cross_entropy(heads.depth_BKHW, depth_BHW[batch])
        loss = loss + F.cross_entropy(heads.species_BSHW, species_BHW[batch].clamp(max=species - 1))
        loss = loss + 4 * F.binary_cross_entropy_with_logits(heads.centre_BHW, centre_BHW[batch])
        loss = loss + F.binary_cross_entropy_with_logits(heads.inverted_B, torch.zeros(len(batch)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def _sample(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Network input, and for every pixel atoms, species (five atoms or more are oxygen) and nearness to a column."""
    shape, sampling_A = (160, 160), 0.1
    frame = torch.from_numpy(lattice_frame(seed, shape, sampling_A).astype(np.float32))
    x_HW = prepare(frame[None], sampling_A, CANONICAL_A)[0]
    h, w = canonical_shape(*shape, sampling_A, CANONICAL_A)
    xy_px, atoms = lattice_positions(shape, sampling_A, seed)
    xy_N2 = torch.from_numpy((xy_px + 0.5) * sampling_A / CANONICAL_A - 0.5).float()
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    square_NHW = (x - xy_N2[:, 0, None, None]) ** 2 + (y - xy_N2[:, 1, None, None]) ** 2
    nearest_HW, index_HW = square_NHW.min(0)
    atoms_HW = torch.from_numpy(atoms)[index_HW]
    depth_HW = torch.where(nearest_HW * CANONICAL_A**2 < 0.6**2, atoms_HW, 0)
    return x_HW, depth_HW, (atoms_HW > 4).long(), torch.exp(-nearest_HW * CANONICAL_A**2 / (2 * 0.35**2))
