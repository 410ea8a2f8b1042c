"""Frames of any size: padding, tiles, and no seams between them."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segdepth_core.network import Heads, UNet, UNetConfig
from segdepth_core.tiling import Tiling, _windows, pad, through

STRIDE = 4
TILING = Tiling(tile=96, margin=28, blend=8)
"""The margin exceeds the reach of `network`: tiles must give exactly what the whole gives."""


@pytest.fixture(scope="module")
def network() -> UNet:
    torch.manual_seed(3)
    return UNet(UNetConfig(widths=(6, 8), decoder_blocks=(1,))).eval()


def image(height: int, width: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, height, width, generator=torch.Generator().manual_seed(height * width))


@torch.inference_mode()
def run(network: UNet, x: torch.Tensor, tiling: Tiling, batch_px: int = 10**9) -> Heads:
    return through(network, x, STRIDE, tiling, batch_px)


@pytest.mark.parametrize("shape", [(97, 40), (200, 330), (96, 130), (131, 260)])
def test_tiled_equals_untiled(network: UNet, shape: tuple[int, int]) -> None:
    whole = run(network, image(*shape), Tiling(tile=1024))
    tiled = run(network, image(*shape), TILING)
    for one, other in zip(whole[:3], tiled[:3], strict=True):
        assert one.shape[-2:] == shape
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_too_small_a_margin_would_show(network: UNet) -> None:
    """The comparison above can fail: without a margin the tiles' own edges are seen."""
    whole = run(network, image(200, 330), Tiling(tile=1024))
    tiled = run(network, image(200, 330), Tiling(tile=96, margin=0, blend=1))
    assert (whole.depth_BKHW - tiled.depth_BKHW).abs().max() > 0.01


def test_the_network_sees_bounded_batches(network: UNet) -> None:
    seen: list[int] = []

    def counting(x: torch.Tensor) -> Heads:
        seen.append(x.numel())
        return network(x)  # type: ignore[no-any-return]

    with torch.inference_mode():
        bounded = through(counting, image(60, 60, 7), STRIDE, TILING, 2 * 60 * 60)
    assert max(seen) <= 2 * 60 * 60
    torch.testing.assert_close(bounded.depth_BKHW, run(network, image(60, 60, 7), TILING).depth_BKHW)


@given(st.integers(25, 400), st.sampled_from([4, 8, 32]))
def test_tiles_cover_a_frame_and_overlap_enough(units: int, stride: int) -> None:
    tiling = Tiling(tile=640, margin=96, blend=32)
    windows = list(_windows(units * stride, stride, tiling))
    assert windows[0].start == 0
    assert windows[-1].start + windows[-1].length == units * stride
    assert all(window.start % stride == window.length % stride == 0 for window in windows)
    assert all(window.length <= tiling.tile for window in windows)
    for one, other in pairwise(windows):
        assert one.start + one.length - other.start >= 2 * tiling.margin + tiling.blend


@pytest.mark.parametrize("size", [1, 2, 3, 5, 31, 32, 33])
def test_padding_reflects_and_moves_nothing(size: int) -> None:
    x = image(size, 40) if size > 1 else torch.ones(1, 2, 40)
    padded = pad(x, 32)
    assert padded.shape[-2] % 32 == padded.shape[-1] % 32 == 0
    torch.testing.assert_close(padded[:, : x.shape[1], :40], x)
    torch.testing.assert_close(padded[:, : x.shape[1], 40:64], x[:, :, 15:39].flip(2))


def test_a_tile_smaller_than_its_margins_is_refused(network: UNet) -> None:
    with pytest.raises(ValueError, match="too small"):
        run(network, image(200, 200), Tiling(tile=64, margin=32, blend=8))
