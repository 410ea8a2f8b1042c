"""Who is examined: anything that answers an observation with a Prediction. Networks see the frame and its sampling."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from segdepth_core.engine import REFERENCE
from segdepth_core.prediction import Detail, Prediction
from segdepth_core.predictor import Predictor
from segdepth_training.benchmark.denoising import DENOISER, SEGMENTED_BY, denoising, load_denoiser
from segdepth_training.benchmark.mixture import LIBRARY, Library, Mixture
from segdepth_training.benchmark.networks import REGRESSION
from segdepth_training.fitting.model import MANIFEST, read
from segdepth_training.frames.observation import Observation
from segdepth_training.machine.progress import say


class Contender(Protocol):
    """One that answers."""

    def answer(self, observation: Observation) -> Prediction:
        """The prediction, with the depth map."""
        ...


@dataclass(frozen=True)
class Entry:
    """A contender's name, what makes its answers its own, and how to make one in another process."""

    name: str
    key: str
    make: Callable[[], Contender]


@dataclass(frozen=True)
class Released:
    """The served path with a model's folder."""

    predictor: Predictor

    def answer(self, observation: Observation) -> Prediction:
        """As a replica would."""
        (prediction,) = self.predictor.predict([observation.frame], [observation.sampling_A], Detail(depth_map=True))
        return prediction


@dataclass(frozen=True)
class Load:
    """Makes the contender of a model's folder."""

    folder: Path

    def __call__(self) -> Contender:
        """In whatever process."""
        return Released(Predictor.load(self.folder, device="cpu", engine=REFERENCE, evaluated=False))


def released(folder: Path) -> Entry:
    """The model in a folder. Its answers are its own by weights, calibration and domain."""
    manifest = read(folder)
    parts: list[object] = [
        manifest.weights_sha256,
        manifest.calibration.model_dump(mode="json"),
        manifest.domain.model_dump(mode="json"),
    ]
    if manifest.pooling is not None:
        parts.append(manifest.pooling.model_dump(mode="json"))
    key = sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    return Entry(f"{manifest.family} {manifest.version}", key, Load(folder))


@dataclass(frozen=True)
class LoadMixture:
    """Makes the Gaussian mixture of a library's file."""

    path: Path

    def __call__(self) -> Contender:
        """In whatever process."""
        return Mixture(Library.read(self.path))


@dataclass(frozen=True)
class LoadDenoising:
    """Makes the contender of a denoiser's folder and the model that segments what it gives."""

    folder: Path
    model: Path

    def __call__(self) -> Contender:
        """In whatever process."""
        return Released(denoising(load_denoiser(self.folder), self.model, read(self.folder)))


def baselines(folder: Path | None, model: Path) -> list[Entry]:
    """Those that a model is compared with, as far as `folder` has them: the mixture, and networks.

    A denoiser is left out where it was calibrated with the weights of another model than the one in the folder `model`.
    """
    if folder is None:
        return []
    found = []
    if (library := folder / LIBRARY).exists():
        key = sha256(library.read_bytes()).hexdigest()[:12]
        found.append(Entry("Gaussian mixture, true positions", key, LoadMixture(library)))
    if (folder / REGRESSION / MANIFEST).exists():
        found.append(replace(released(folder / REGRESSION), name=f"{REGRESSION} network"))
    if (folder / DENOISER / MANIFEST).exists():
        segments = read(model)
        if read(folder / DENOISER).recipe[SEGMENTED_BY] == segments.weights_sha256:
            entry = released(folder / DENOISER)
            found.append(replace(entry, name="denoise, then segment", make=LoadDenoising(folder / DENOISER, model)))
        else:
            say(
                f"without the denoiser: it was calibrated with other weights than {segments.version}'s; run"
                " segdepth-train baseline denoiser"
            )
    return found
