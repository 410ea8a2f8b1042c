"""What the network should say: classes on disks around the columns, and nearness to their centres."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from segdepth_protos.contract import CLASSES


@dataclass(frozen=True)
class View:
    """Which part of a periodic cell a camera sees, and on how many canonical pixels.

    The camera's pixel j lies at j * pixel_A of the cell; the view starts at pixel `origin` (y, x), is `size` camera
    pixels wide and is resampled, centre-aligned, to `points` pixels.
    """

    pixel_A: float
    origin: tuple[int, int]
    size: int
    points: int

    def to_points(self, position_A: Tensor, axis: int) -> Tensor:
        """Canonical pixel coordinate along an axis (0 = y, 1 = x) of positions [Å] in the cell."""
        return ((position_A / self.pixel_A - self.origin[axis]) + 0.5) * self.points / self.size - 0.5

    @property
    def sampling_A(self) -> float:
        """Of the canonical pixels [Å/px]."""
        return self.pixel_A * self.size / self.points


class Labels(NamedTuple):
    """Targets [B, H, W]: class 0-10, species index (-1 in the background), Gaussian nearness 0-1."""

    depth: Tensor
    species: Tensor
    centre: Tensor


def render(columns_BNC: Tensor, view: View, disk_A: float, centre_A: float) -> Labels:
    """Labels of columns (x [Å], y [Å], count, species, ...; rows of NaN are padding) as a view sees them."""
    size = len(columns_BNC)
    points, device = view.points, columns_BNC.device
    x = view.to_points(columns_BNC[..., 0], 1)
    y = view.to_points(columns_BNC[..., 1], 0)
    reach = int(3.2 * centre_A / view.sampling_A) + 1
    offset = torch.arange(-reach, reach + 1, device=device)
    px = x.round().nan_to_num(-1e4).long()[..., None, None] + offset
    py = y.round().nan_to_num(-1e4).long()[..., None, None] + offset[:, None]
    distance_A = torch.hypot(px - x[..., None, None], py - y[..., None, None]) * view.sampling_A
    seen = (px >= 0) & (px < points) & (py >= 0) & (py < points) & distance_A.isfinite()
    frame = torch.arange(size, device=device)[:, None, None, None]
    flat = ((frame * points + py) * points + px).expand_as(distance_A)
    centre = torch.zeros(size * points * points, device=device)
    centre.scatter_reduce_(0, flat[seen], torch.exp(-(distance_A[seen] ** 2) / (2 * centre_A**2)), "amax")
    # Columns are further apart than two radii, so that no pixel lies on two disks.
    on_disk = seen & (distance_A <= disk_A)
    depth = torch.zeros(size * points * points, dtype=torch.long, device=device)
    species = torch.full((size * points * points,), -1, dtype=torch.long, device=device)
    count = columns_BNC[..., 2].nan_to_num(0).long().clamp(max=CLASSES - 1)[..., None, None].expand_as(distance_A)
    kind = columns_BNC[..., 3].nan_to_num(0).long()[..., None, None].expand_as(distance_A)
    depth[flat[on_disk]] = count[on_disk]
    species[flat[on_disk]] = kind[on_disk]
    shape = (size, points, points)
    return Labels(depth.view(shape), species.view(shape), centre.view(shape))
