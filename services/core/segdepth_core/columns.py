"""Columns from the network's maps: where they are, what their pixels say together, what that means.

Positions here are (x, y) in px of the canonical grid; `to_frame` and `to_canonical` map them to the caller's and back.
Suffixes: N columns of all frames of a batch, P points of a disk, K depth classes, S species, 2 = (x, y).
"""

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segdepth_artefacts.manifest import Calibration
from segdepth_core.calibration import abstained, posterior, temperature
from segdepth_core.constant_regions import near
from segdepth_core.network import Heads
from segdepth_core.prediction import Array, Columns
from segdepth_protos.count_interval import count_interval

PEAK = 0.25
"""Smoothed nearness to a centre that a column has at least."""

APART_A = 0.8
"""Columns are at least this far apart [Å]; the nearest in CeO2 [110] are 1.35 Å."""

SMOOTHING_A = 0.14
"""Width (standard deviation) [Å] by which the centre map is smoothed before peaks are sought."""

DISK_A = 0.4
"""Radius [Å] of the disk over which a column's logits are averaged."""

BLIND_A = 0.6
"""Columns nearer than this [Å] to a region that was not recorded are not given: part of them is missing."""

REACH_PX = 1.5
"""A peak is at most this far from the middle of the 3x3 px it was fitted on (more than 0.5 only at the edge)."""


@dataclass(frozen=True)
class Found:
    """Columns of a batch, sorted by frame, y, x."""

    frame_N: Tensor
    """Index of the frame within the batch (int64)."""
    xy_N2: Tensor


def to_frame(xy_N2: Tensor, canonical: tuple[int, int], frame: tuple[int, int]) -> Tensor:
    """Positions in px of the caller's frame of shape `frame`, from px of the canonical grid; as prepare.resample."""
    return (xy_N2 + 0.5) * _ratio(frame, canonical, xy_N2) - 0.5


def to_canonical(xy_N2: Tensor, canonical: tuple[int, int], frame: tuple[int, int]) -> Tensor:
    """The inverse of `to_frame`."""
    return (xy_N2 + 0.5) * _ratio(canonical, frame, xy_N2) - 0.5


def _ratio(to: tuple[int, int], of: tuple[int, int], like: Tensor) -> Tensor:
    """(width, height) of `to` over `of`: each axis has its own, because a shape is rounded to whole pixels."""
    return torch.tensor([to[1] / of[1], to[0] / of[0]], dtype=like.dtype, device=like.device)


def find_columns(centre_BHW: Tensor, canonical_A: float) -> Found:
    """Peaks of the centre head's map (logits) at `canonical_A` [Å/px], to a fraction of a pixel.

    The training target is a Gaussian around each column, whose logarithm is a parabola: the fit is exact for it.
    """
    # Contiguous, because torch rounds otherwise where it cannot vectorise, and strides differ by a batch's size.
    raw_BHW = torch.sigmoid(centre_BHW.contiguous())
    radius = math.ceil(3 * SMOOTHING_A / canonical_A)
    near_BHW = _smooth(raw_BHW, SMOOTHING_A / canonical_A, radius)
    reach = max(1, math.ceil(APART_A / canonical_A - 1e-6) - 1)
    height, width = near_BHW.shape[-2:]
    peak_BHW = (near_BHW == _highest(near_BHW, reach)) & (near_BHW > PEAK)
    # Of equal pixels next to each other the last is the peak.
    own_BHW = torch.arange(1, height * width + 1, device=near_BHW.device).reshape(height, width) * peak_BHW
    frame_N, y_N, x_N = torch.nonzero(peak_BHW & (own_BHW == _highest(own_BHW, reach)), as_tuple=True)
    # At the frame's edge the 3x3 px lie inwards: the parabola reaches out to the peak.
    my_N, mx_N = y_N.clamp(1, height - 2), x_N.clamp(1, width - 2)
    d = torch.arange(-1, 2, device=near_BHW.device)
    at = (frame_N[:, None, None], my_N[:, None, None] + d[:, None], mx_N[:, None, None] + d)
    # There the smoothing has seen what is not in the frame: the map itself is fitted.
    margin_N = torch.minimum(torch.minimum(mx_N, width - 1 - mx_N), torch.minimum(my_N, height - 1 - my_N))
    patch_Nyx = torch.where((margin_N <= radius)[:, None, None], raw_BHW[at], near_BHW[at])
    log_Nyx = patch_Nyx.clamp(min=1e-6).log()
    dx_N, dy_N = _vertex(log_Nyx.mean(1)), _vertex(log_Nyx.mean(2))
    xy_N2 = torch.stack([mx_N + dx_N, my_N + dy_N], dim=1)
    inside_N = (xy_N2 >= -0.5).all(1) & (xy_N2[:, 0] <= width - 0.5) & (xy_N2[:, 1] <= height - 0.5)
    kept_N = inside_N & (dx_N.abs() <= REACH_PX) & (dy_N.abs() <= REACH_PX)
    return _sorted(Found(frame_N[kept_N], xy_N2[kept_N]))


def _highest(map_BHW: Tensor, reach: int) -> Tensor:
    """The highest of each pixel's neighbours up to `reach` away, itself among them; the map holds nothing below 0.

    On a CPU twenty times as fast as max_pool2d.
    """
    height, width = map_BHW.shape[-2:]
    padded = F.pad(map_BHW, (reach, reach, reach, reach))
    rows = reduce(torch.maximum, (padded[:, y : y + height] for y in range(2 * reach + 1)))
    return reduce(torch.maximum, (rows[:, :, x : x + width] for x in range(2 * reach + 1)))


def _smooth(map_BHW: Tensor, sigma_px: float, radius: int) -> Tensor:
    weights = [math.exp(-0.5 * (offset / sigma_px) ** 2) for offset in range(-radius, radius + 1)]
    height, width = map_BHW.shape[-2:]
    padded = F.pad(map_BHW, (radius, radius, radius, radius), mode="replicate") / sum(weights) ** 2
    rows = reduce(torch.add, (padded[:, y : y + height] * weight for y, weight in enumerate(weights)))
    return reduce(torch.add, (rows[:, :, x : x + width] * weight for x, weight in enumerate(weights)))


def _vertex(log_N3: Tensor) -> Tensor:
    """Vertex of the parabola through the values at -1, 0, 1; far away where it opens upwards."""
    left, middle, right = log_N3.unbind(1)
    curvature = left - 2 * middle + right
    return torch.where(curvature < 0, 0.5 * (left - right) / curvature.clamp(max=-1e-6), torch.full_like(left, 1e3))


def _sorted(found: Found) -> Found:
    """By frame, then y, then x."""
    order = torch.arange(len(found.frame_N), device=found.frame_N.device)
    for key in (found.xy_N2[:, 0], found.xy_N2[:, 1], found.frame_N):
        order = order[torch.argsort(key[order], stable=True)]
    return Found(found.frame_N[order], found.xy_N2[order])


def column_logits(heads: Heads, frame_N: Tensor, xy_N2: Tensor, canonical_A: float) -> tuple[Tensor, Tensor]:
    """Uncalibrated depth logits [N, K] and species logits [N, S] of columns at `xy_N2` of frames `frame_N`.

    Each is the mean over the column's disk, read between pixels; points outside the frame count as its nearest pixel.
    """
    points_P2 = _disk(DISK_A / canonical_A).to(xy_N2)
    at_NP2 = xy_N2[:, None] + points_P2
    height, width = heads.centre_BHW.shape[-2:]
    x_NP, y_NP = at_NP2[..., 0].clamp(0, width - 1), at_NP2[..., 1].clamp(0, height - 1)
    x0_NP, y0_NP = x_NP.long().clamp(max=max(0, width - 2)), y_NP.long().clamp(max=max(0, height - 2))
    fx_NP, fy_NP = x_NP - x0_NP, y_NP - y0_NP
    corners = (
        (y0_NP, x0_NP, (1 - fy_NP) * (1 - fx_NP)),
        (y0_NP, x0_NP + 1, (1 - fy_NP) * fx_NP),
        (y0_NP + 1, x0_NP, fy_NP * (1 - fx_NP)),
        (y0_NP + 1, x0_NP + 1, fy_NP * fx_NP),
    )
    index = torch.cat([(frame_N[:, None] * height + y) * width + x for y, x, _ in corners], dim=1)
    weight = torch.cat([w for _, _, w in corners], dim=1) / len(points_P2)
    return _gather(heads.depth_BKHW, index, weight), _gather(heads.species_BSHW, index, weight)


def _gather(logits_BCHW: Tensor, index_NQ: Tensor, weight_NQ: Tensor) -> Tensor:
    """Weighted sum of the logits at flat pixel indices; [N, C]."""
    channels = logits_BCHW.shape[1]
    rows = logits_BCHW.permute(0, 2, 3, 1).reshape(-1, channels)
    return F.embedding_bag(index_NQ, rows, per_sample_weights=weight_NQ, mode="sum")


def _disk(radius_px: float) -> Tensor:
    """Offsets (x, y) of points evenly spread over a disk, at most half a pixel apart, its middle among them."""
    steps = max(1, math.ceil(radius_px))
    at = torch.linspace(-radius_px, radius_px, 2 * steps + 1)
    y, x = torch.meshgrid(at, at, indexing="ij")
    inside = x.square() + y.square() <= radius_px**2 * (1 + 1e-6)
    return torch.stack([x[inside], y[inside]], dim=1)


@dataclass(frozen=True)
class Reading:
    """What the network says of the columns of a batch."""

    found: Found
    depth_NK: Tensor
    """Uncalibrated logits of the number of atoms."""
    species_N: Tensor
    """Index of the most likely species."""
    posterior_NK: Tensor


def read(heads: Heads, dose_B: Tensor, calibration: Calibration, canonical_A: float) -> Reading:
    """Columns of a batch and their posteriors; `dose_B` is the frames' measured dose [e/Å²]."""
    found = find_columns(heads.centre_BHW, canonical_A)
    depth_NK, species_NS = column_logits(heads, found.frame_N, found.xy_N2, canonical_A)
    posterior_NK = posterior(depth_NK, temperature(calibration.column, dose_B)[found.frame_N])
    return Reading(found, depth_NK, species_NS.argmax(1), posterior_NK)


def tables(
    reading: Reading, frames: int, canonical: tuple[int, int], shape: tuple[int, int], abstain_below: float
) -> list[Columns]:
    """Columns of each frame of a batch; `shape` is that of the caller's frames, `canonical` that of the network's grid.

    A column whose most likely count is 0 is no column.
    """
    posterior_NK = reading.posterior_NK
    count_N = posterior_NK.argmax(1)
    low_N, high_N = count_interval(posterior_NK.cpu().numpy())
    xy_N2 = to_frame(reading.found.xy_N2, canonical, shape)
    kept_N = count_N > 0
    frame_N, kept = reading.found.frame_N[kept_N].cpu().numpy(), kept_N.cpu().numpy()
    table = Columns(
        x_px=_numpy(xy_N2[kept_N, 0], "f4"),
        y_px=_numpy(xy_N2[kept_N, 1], "f4"),
        species=_numpy(reading.species_N[kept_N] + 1, "u1"),
        count=_numpy(count_N[kept_N], "u1"),
        lo90=low_N[kept].astype("u1"),
        hi90=high_N[kept].astype("u1"),
        abstained=_numpy(abstained(posterior_NK, abstain_below)[kept_N], "?"),
        probabilities=_numpy(posterior_NK[kept_N], "f4"),
    )
    return [_rows(table, frame_N == frame) for frame in range(frames)]


def recorded(columns: Columns, masked: Array, sampling_A: float) -> Columns:
    """Those of a frame's columns at `sampling_A` [Å/px] whose disk has no pixel of the mask [height, width]."""
    blind = near(masked, math.ceil(BLIND_A / sampling_A))
    height, width = masked.shape
    y, x = (np.rint(at).astype(int) for at in (columns.y_px, columns.x_px))
    return _rows(columns, ~blind[y.clip(0, height - 1), x.clip(0, width - 1)])


def _numpy(tensor: Tensor, dtype: str) -> Array:
    array: Array = tensor.cpu().numpy().astype(dtype)
    return array


def _rows(table: Columns, mask: Array) -> Columns:
    return Columns(**{name: array[mask] for name, array in vars(table).items()})
