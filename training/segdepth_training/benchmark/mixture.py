"""Baseline: a Gaussian mixture on column intensities, as StatSTEM counts atoms in ADF-STEM images.

Van Aert et al., Phys. Rev. B 87, 064107 (2013), for the method. It is given what an expert could never know: the true
positions and species of all columns, and for each component the number of atoms that most of its columns have.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture  # type: ignore[import-untyped]

from segdepth_inference.calibration import interval
from segdepth_inference.prediction import Columns, Maps, Prediction, Verdict, Version
from segdepth_protos.contract import CLASSES
from segdepth_training.observation import Observation

RADIUS_A = 0.6
"""Of the disk over which a column's intensity is summed [Å]."""

MOST = 10
"""Components, chosen by the integrated completed likelihood (Biernacki et al., IEEE PAMI 22, 719, 2000)."""

ABSTAIN_BELOW = 0.5
VERSION = Version("mixture", "1", "0" * 64, "scikit-learn")


@dataclass(frozen=True)
class Mixture:
    """The contender."""

    def answer(self, observation: Observation) -> Prediction:
        """Counts of the true columns whose disk is inside the frame."""
        height, width = observation.frame.shape
        radius_px = RADIUS_A / observation.sampling_A
        xy = observation.columns[:, :2]
        inside = ((xy >= radius_px) & (xy <= np.array([width, height]) - 1 - radius_px)).all(1)
        true = observation.columns[inside]
        value = intensities(observation.frame, true[:, :2], radius_px)
        posterior = np.zeros((len(true), CLASSES))
        for kind in np.unique(true[:, 3]):
            some = true[:, 3] == kind
            counts = np.minimum(true[some, 2], CLASSES - 1).astype(int)
            posterior[some] = labelled(value[some], counts)
        return prediction(observation, true, posterior)


def intensities(frame: NDArray[np.float32], xy_px: NDArray[np.floating], radius_px: float) -> NDArray[np.float64]:
    """Mean intensity over each column's disk, in units of the frame's mean."""
    reach = int(np.ceil(radius_px))
    offset = np.arange(-reach, reach + 1)
    centre = np.round(xy_px).astype(int)
    x = centre[:, 0, None, None] + offset[None, None, :]
    y = centre[:, 1, None, None] + offset[None, :, None]
    weight = np.hypot(x - xy_px[:, 0, None, None], y - xy_px[:, 1, None, None]) <= radius_px
    height, width = frame.shape
    seen = frame[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] * weight
    return np.asarray(seen.sum((1, 2)) / np.maximum(1, weight.sum((1, 2))) / frame.mean())


def labelled(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Posterior [n, CLASSES] of each column: its components', summed by the count that most of a component have."""
    samples = values[:, None]
    fits = [
        GaussianMixture(number, random_state=0, reg_covar=1e-8).fit(samples)
        for number in range(1, min(MOST, len(values) // 3) + 1)
    ]
    result = np.zeros((len(values), CLASSES))
    if not fits:  # Too few columns for any fit.
        result[:, np.bincount(counts).argmax()] = 1
        return result
    shares = [fit.predict_proba(samples) for fit in fits]
    uncertain = [-2 * (share * np.log(np.maximum(share, 1e-300))).sum() for share in shares]
    best = int(np.argmin([fit.bic(samples) + doubt for fit, doubt in zip(fits, uncertain, strict=True)]))
    belongs = shares[best].argmax(1)
    for component in range(shares[best].shape[1]):
        members = counts[belongs == component]
        label = np.bincount(members).argmax() if len(members) else np.bincount(counts).argmax()
        result[:, label] += shares[best][:, component]
    return result


def prediction(observation: Observation, true: NDArray[np.float32], posterior: NDArray[np.float64]) -> Prediction:
    """Posteriors of columns at known places as a Prediction."""
    height, width = observation.frame.shape
    low, high = interval(torch.from_numpy(posterior))
    depth = np.zeros((height, width), np.uint8)
    count = posterior.argmax(1)
    x, y = np.round(true[:, :2]).astype(int).T
    depth[y, x] = count
    columns = Columns(
        x_px=true[:, 0],
        y_px=true[:, 1],
        species=(true[:, 3] + 1).astype(np.uint8),
        count=count.astype(np.uint8),
        lo90=low.numpy().astype(np.uint8),
        hi90=high.numpy().astype(np.uint8),
        abstained=posterior.max(1) < ABSTAIN_BELOW,
        probabilities=posterior.astype(np.float32),
    )
    maps = Maps(depth=depth)
    return Prediction(VERSION, height, width, observation.sampling_A, observation.dose, Verdict(()), columns, maps)
