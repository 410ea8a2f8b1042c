"""Frames of any size through a network that wants multiples of its stride and bounded memory.

A frame is padded by reflection at its lower and right edge; one larger than a tile is cut into overlapping tiles whose
seams are blended far enough from their edges that no pixel sees one. Coordinates do not move.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from segdepth_core.network import Heads


@dataclass(frozen=True)
class Tiling:
    """Tiles [px at the canonical sampling]."""

    tile: int = 1536
    margin: int = 192
    """Left out at a tile's inner edges. The released model's counts differ by 0.4 % at 128 px, by 0.1 % at 160."""
    blend: int = 32
    """Over which two tiles change places."""


def pad(x_BHW: Tensor, stride: int) -> Tensor:
    """Frames padded by reflection, below and to the right, to multiples of `stride`."""
    below, right = -x_BHW.shape[-2] % stride, -x_BHW.shape[-1] % stride
    while below or right:
        # A reflection reaches no further than the frame itself: frames smaller than half a stride need several.
        down, along = min(below, x_BHW.shape[-2] - 1), min(right, x_BHW.shape[-1] - 1)
        x_BHW = F.pad(x_BHW, (0, along, 0, down), mode="reflect")
        below, right = below - down, right - along
    return x_BHW


def through(network: Callable[[Tensor], Heads], x_BHW: Tensor, stride: int, tiling: Tiling, batch_px: int) -> Heads:
    """Heads [B, H, W] of network input of any H and W; at most `batch_px` pixels go through the network at once."""
    height, width = x_BHW.shape[-2:]
    padded_BHW = pad(x_BHW, stride)
    if max(padded_BHW.shape[-2:]) <= tiling.tile:
        whole = _in_batches(network, padded_BHW, batch_px)
    else:
        # One frame at a time: its tiles are a batch, and no frame's answer depends on its neighbours'.
        frames = [_tiled(network, frame_HW, stride, tiling, batch_px) for frame_HW in padded_BHW]
        whole = Heads(*(torch.cat(parts) for parts in zip(*frames, strict=True)))
    return Heads(*(logits[..., :height, :width] if logits.ndim > 2 else logits for logits in whole))


def _in_batches(network: Callable[[Tensor], Heads], x_BHW: Tensor, batch_px: int) -> Heads:
    size = max(1, batch_px // (x_BHW.shape[-2] * x_BHW.shape[-1]))
    if len(x_BHW) <= size:
        return network(x_BHW)
    parts = [network(part) for part in torch.split(x_BHW, size)]
    return Heads(*(torch.cat(logits) for logits in zip(*parts, strict=True)))


def _tiled(network: Callable[[Tensor], Heads], frame_HW: Tensor, stride: int, tiling: Tiling, batch_px: int) -> Heads:
    height, width = frame_HW.shape
    rows, columns = list(_windows(height, stride, tiling)), list(_windows(width, stride, tiling))
    windows = [(row, column) for row in rows for column in columns]
    size = max(1, batch_px // (rows[0].length * columns[0].length))
    weights_HW = frame_HW.new_zeros(height, width)
    maps: list[Tensor] = []
    inverted_B: list[Tensor] = []
    means_BC: list[Tensor] = []
    for start in range(0, len(windows), size):
        some = windows[start : start + size]
        *tiles, inverted, means = network(torch.stack([frame_HW[row.slice, column.slice] for row, column in some]))
        maps = maps or [logits.new_zeros(*logits.shape[1:-2], height, width) for logits in tiles]
        inverted_B.append(inverted)
        means_BC.append(means)
        for index, (row, column) in enumerate(some):
            weight_hw = torch.outer(row.weights(frame_HW.device), column.weights(frame_HW.device))
            weights_HW[row.slice, column.slice] += weight_hw
            for whole, logits in zip(maps, tiles, strict=True):
                whole[..., row.slice, column.slice] += logits[index] * weight_hw
    depth_KHW, species_SHW, centre_HW = (whole / weights_HW for whole in maps)
    inverted, means_C = torch.cat(inverted_B).mean(), torch.cat(means_BC).mean(0)
    return Heads(depth_KHW[None], species_SHW[None], centre_HW[None], inverted[None], means_C[None])


@dataclass(frozen=True)
class _Window:
    """A tile's extent along one axis, and whether its ends are inner edges."""

    start: int
    length: int
    inner_start: bool
    inner_end: bool
    tiling: Tiling

    @property
    def slice(self) -> slice:
        return slice(self.start, self.start + self.length)

    def weights(self, device: torch.device) -> Tensor:
        """0 in the margin of an inner edge, rising linearly to 1 over the blend."""
        at = torch.arange(self.length, device=device, dtype=torch.float32)
        ones = torch.ones_like(at)
        rise = ((at + 0.5 - self.tiling.margin) / self.tiling.blend).clamp(0, 1)
        return (rise if self.inner_start else ones) * (rise.flip(0) if self.inner_end else ones)


def _windows(length: int, stride: int, tiling: Tiling) -> Iterator[_Window]:
    """Tiles that cover `length`, evenly spread, their origins at multiples of `stride`."""
    if length <= tiling.tile:
        yield _Window(0, length, inner_start=False, inner_end=False, tiling=tiling)
        return
    # Rounding an origin to the stride may take that much of an overlap.
    overlap = 2 * tiling.margin + tiling.blend + stride
    if tiling.tile - overlap < stride:
        raise ValueError(f"a tile of {tiling.tile} px is too small for a margin of {tiling.margin} px on either side")
    count = -(-(length - overlap) // (tiling.tile - overlap))
    # As small as so many tiles can be: a frame a little larger than a tile costs little more than one.
    size = -(-(length + (count - 1) * overlap) // (count * stride)) * stride
    for index in range(count):
        start = round(index * (length - size) / (count - 1) / stride) * stride
        yield _Window(start, size, inner_start=index > 0, inner_end=index < count - 1, tiling=tiling)
