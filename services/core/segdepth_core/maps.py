"""Maps of calibrated probability on the caller's own pixels."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segdepth_core.calibration import pixel_probabilities
from segdepth_core.prediction import Array, Detail, Maps
from segdepth_protos.contract import CLASSES, REFUSED_DEPTH

DISK_A = 0.66
"""Radius [Å] around a column within which pixels are of it: the nearest columns are 1.35 Å apart."""


@dataclass(frozen=True)
class Change:
    """What a second reading made of a frame's columns: by what each class became more likely."""

    xy_N2: Tensor
    """Positions on the canonical grid [px]."""
    ratio_NK: Tensor
    canonical_A: float
    """Sampling of that grid [Å/px]."""

    def of(self, pixels_KHW: Tensor) -> Tensor:
        """Probabilities of pixels by the same change: those around a column know of its count what it does.

        How likely a pixel is background stays as it was.
        """
        height, width = pixels_KHW.shape[-2:]
        reach = math.ceil(DISK_A / self.canonical_A)
        steps = torch.arange(-reach, reach + 1, device=pixels_KHW.device)
        at_Nyx = self.xy_N2.round().long()[:, None, None] + torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
        apart_A = (at_Nyx - self.xy_N2[:, None, None]).square().sum(-1).sqrt() * self.canonical_A
        inside = (at_Nyx >= 0).all(-1) & (at_Nyx[..., 0] < width) & (at_Nyx[..., 1] < height) & (apart_A <= DISK_A)
        column, y, x = torch.nonzero(inside, as_tuple=True)[0], at_Nyx[inside][:, 1], at_Nyx[inside][:, 0]
        before_KM = pixels_KHW[1:, y, x]
        after_KM = before_KM * self.ratio_NK[column, 1:].T
        after_KM *= before_KM.sum(0) / after_KM.sum(0).clamp(min=1e-30)
        changed_KHW = pixels_KHW.clone()
        changed_KHW[1:, y, x] = after_KM
        return changed_KHW


def read_maps(
    logits_KHW: Tensor,
    temperature: Tensor,
    shape: tuple[int, int],
    detail: Detail,
    masked: Array | None = None,
    change: Change | None = None,
) -> Maps:
    """Maps of one frame of `shape` [px] from its depth logits at the canonical sampling.

    255 and NaN where `masked` [height, width] says that nothing was recorded. `change`: what a second reading made of
    the frame's columns.

    Probabilities, not classes, are interpolated between pixels (centre-aligned), so that an edge from 3 to 7 atoms
    has no seam of 5 in it.
    """
    if not detail.maps:
        return Maps()
    # Contiguous, because torch rounds otherwise where it cannot vectorise, and strides differ by a batch's size.
    canonical_KHW = pixel_probabilities(logits_KHW.contiguous()[None], temperature.reshape(1))[0]
    if change is not None:
        canonical_KHW = change.of(canonical_KHW)
    # Class by class, for a frame of 4096² has 740 MB of probabilities, which are seldom asked for.
    best_HW = torch.full(shape, -1.0, device=logits_KHW.device)
    depth_HW = torch.zeros(shape, dtype=torch.uint8, device=logits_KHW.device)
    planes: list[Tensor] = []
    for count, plane_HW in enumerate(canonical_KHW):
        fine_HW = F.interpolate(plane_HW[None, None], shape, mode="bilinear", align_corners=False)[0, 0]
        higher_HW = fine_HW > best_HW
        depth_HW.masked_fill_(higher_HW, count)
        best_HW = torch.maximum(best_HW, fine_HW)
        if detail.probabilities:
            planes.append(fine_HW)
    maps = Maps(
        depth=depth_HW.cpu().numpy() if detail.depth_map else None,
        confidence=best_HW.cpu().numpy() if detail.confidence_map else None,
        probabilities=torch.stack(planes).cpu().numpy() if detail.probabilities else None,
    )
    return maps if masked is None else _blind(maps, masked)


def _blind(maps: Maps, masked: Array) -> Maps:
    for map_, nothing in ((maps.depth, REFUSED_DEPTH), (maps.confidence, np.nan), (maps.probabilities, np.nan)):
        if map_ is not None:
            map_[..., masked] = nothing
    return maps


def refused_maps(shape: tuple[int, int], detail: Detail) -> Maps:
    """Maps of a frame that was refused: 255 and NaN throughout."""
    return Maps(
        depth=np.full(shape, REFUSED_DEPTH, np.uint8) if detail.depth_map else None,
        confidence=np.full(shape, np.nan, np.float32) if detail.confidence_map else None,
        probabilities=np.full((CLASSES, *shape), np.nan, np.float32) if detail.probabilities else None,
    )
