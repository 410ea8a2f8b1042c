"""The network: a residual UNet that gives every pixel a class (0-10 atoms), a species, and its nearness to a column.

Shape suffixes: B batch, C channels, H, W pixels at the canonical sampling, h, w at a level of the UNet.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segdepth_protos.contract import CLASSES

PAIRED_LEVEL = 3
"""From this level down a lone frame is computed twice: on so few pixels oneDNN sums a batch of one in another order
than any other batch, and a frame's answer must not depend on the frames it came with. Costs a lone frame a tenth."""


class Heads(NamedTuple):
    """What the network says of a batch of frames: logits, and what it saw."""

    depth_BKHW: Tensor
    """Number of atoms: 0-9, ten or more."""
    species_BSHW: Tensor
    """Which of the family's species, in the manifest's order; means nothing in the background."""
    centre_BHW: Tensor
    """Nearness to the centre of a column (1 at the centre)."""
    inverted_B: Tensor
    """Whether the frame's contrast is inverted against everything the simulation knows."""
    means_BC: Tensor
    """No logits: the mean over the frame of every encoder level's channels."""


@dataclass(frozen=True)
class UNetConfig:
    """Channels of each level (each level halves the resolution), residual blocks of its decoder, features of the
    frame's descriptor (0 = none), species that the family's columns may be of, and how the number of atoms is told:
    a logit for each class, or one number."""

    widths: tuple[int, ...] = (48, 96, 192, 256, 160)
    decoder_blocks: tuple[int, ...] = (1, 2, 1, 1)
    context: int = 0
    species: int = 2
    depth: Literal["classes", "regression"] = "classes"

    def __post_init__(self) -> None:
        if self.depth not in ("classes", "regression"):
            raise ValueError(f'depth = {self.depth!r}: "classes" or "regression"')

    @property
    def depth_channels(self) -> int:
        """Of the head, for each pixel's number of atoms."""
        return CLASSES if self.depth == "classes" else 1

    @property
    def head_channels(self) -> tuple[int, int, int]:
        """For each pixel: of depth, of species, of its nearness to a column."""
        return (self.depth_channels, self.species, 1)

    @property
    def stride(self) -> int:
        """Frames must be multiples of this many pixels."""
        return int(2 ** len(self.widths))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity() if channels_in == channels else nn.Conv2d(channels_in, channels, 1)

    def forward(self, x_BChw: Tensor) -> Tensor:
        """The same shape but for the channels."""
        y_BChw = F.relu(self.norm1(self.conv1(x_BChw)))
        return F.relu(self.norm2(self.conv2(y_BChw)) + self.shortcut(x_BChw))


class Context(nn.Module):
    """What holds for a whole frame (defocus, blur, contrast, dose), told to every pixel of every decoder level.

    The means over the frame of every encoder level average the noise away as no receptive field does. They become a
    scale and a shift of each channel (FiLM, Perez et al., AAAI 2018), beginning with the identity, so that a network
    trained without it can go on with it.
    """

    MOMENTUM = 0.01
    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, seen: int, features: int, widths: tuple[int, ...]):
        super().__init__()
        self.widths = widths
        self.describe = nn.Linear(seen, features)
        self.tell = nn.Linear(features, 2 * sum(widths))
        nn.init.zeros_(self.tell.weight)
        nn.init.zeros_(self.tell.bias)
        self.register_buffer("mean", torch.zeros(seen))
        self.register_buffer("variance", torch.ones(seen))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, means_BC: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Scale and shift [B, C, 1, 1] of each level."""
        # Not in bf16: what tells one thickness from the next is a few thousandths of a mean.
        with torch.autocast(means_BC.device.type, enabled=False):
            if self.training:
                self._follow(means_BC.detach())
            standard_BC = (means_BC - self.mean) * torch.rsqrt(self.variance + 1e-6)
            film = exact(self.tell, F.relu(exact(self.describe, standard_BC)))[..., None, None]
        parts = film.split([width for width in self.widths for _ in range(2)], dim=1)
        return [(1 + scale, shift) for scale, shift in zip(parts[::2], parts[1::2], strict=True)]

    @torch.no_grad()
    def _follow(self, means_BC: Tensor) -> None:
        """Follow mean and variance over the batches: a batch's own would hide what distinguishes its frames."""
        weight = max(self.MOMENTUM, 1 / (float(self.batches) + 1))
        self.mean.lerp_(means_BC.mean(0), weight)
        self.variance.lerp_((means_BC - self.mean).square().mean(0), weight)
        self.batches += 1


class Trunk(nn.Module):
    """Residual encoder and decoder on space-to-depth input: the finest level works at half the canonical resolution.

    Pixel-unshuffle keeps every pixel as a channel, so columns 1.35 Å apart stay apart at a quarter of the cost.
    """

    def __init__(self, widths: tuple[int, ...], decoder_blocks: tuple[int, ...]):
        super().__init__()
        self.stem = nn.Conv2d(4, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(
            ResidualBlock(below, width) for below, width in zip((widths[0], *widths), widths, strict=False)
        )
        self.lift = nn.ModuleList(nn.Conv2d(widths[i + 1], widths[i], 1) for i in range(len(widths) - 1))
        self.decoder = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, width) for _ in range(blocks)))
            for width, blocks in zip(widths, decoder_blocks, strict=False)
        )

    def encode(self, x_BHW: Tensor) -> list[Tensor]:
        """Features [B, C, h, w] of every level; of a lone frame two rows from PAIRED_LEVEL down."""
        x_BChw = self.stem(F.pixel_unshuffle(x_BHW.unsqueeze(1), 2))
        levels: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x_BChw = x_BChw if level == 0 else F.max_pool2d(x_BChw, 2)
            if level == PAIRED_LEVEL and len(x_BChw) == 1:
                x_BChw = x_BChw.repeat(2, 1, 1, 1)
            x_BChw = block(x_BChw)
            levels.append(x_BChw)
        return levels

    def decode(self, skips: list[Tensor], film: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Features [B, C, h, w] of the finest level from every level's; `film`: scale and shift of each level."""
        x_BChw = skips[-1]
        for level in reversed(range(len(self.decoder))):
            up_BChw = F.interpolate(self.lift[level](x_BChw), scale_factor=2, mode="bilinear", align_corners=False)
            x_BChw = up_BChw[: len(skips[level])] + skips[level]
            if film:
                scale, shift = film[level]
                x_BChw = x_BChw * scale[: len(x_BChw)] + shift[: len(x_BChw)]
            x_BChw = self.decoder[level](x_BChw)
        return x_BChw


class UNet(Trunk):
    """The trunk with a head for every pixel, one for the frame, and the frame's descriptor where there is one."""

    def __init__(self, config: UNetConfig):
        super().__init__(config.widths, config.decoder_blocks)
        self.config = config
        widths = config.widths
        self.head = nn.Conv2d(widths[0], 4 * sum(config.head_channels), 1)
        self.frame_head = nn.Linear(widths[-1], 1)
        self.context = Context(sum(widths), config.context, widths[:-1]) if config.context else None

    def forward(self, x_BHW: Tensor) -> Heads:
        """Logits of frames `x_BHW` (contrast as `prepare.normalise` gives it); H and W multiples of config.stride."""
        skips = self.encode(x_BHW)
        inverted_B = self.frame_head(skips[-1].mean((2, 3)))[: len(x_BHW), 0]
        means_BC = frame_means(skips)
        film = self.context(means_BC) if self.context else None
        y_BCHW = F.pixel_shuffle(self.head(self.decode(skips, film)), 2)
        parts = torch.split(y_BCHW, list(self.config.head_channels), dim=1)
        depth_BKHW, species_BSHW, centre_B1HW = parts
        if self.config.depth == "regression":
            depth_BKHW = gaussian_logits(depth_BKHW)
        return Heads(depth_BKHW, species_BSHW, centre_B1HW[:, 0], inverted_B, means_BC[: len(x_BHW)])


def gaussian_logits(atoms_B1HW: Tensor) -> Tensor:
    """Logits [B, K, H, W] of a Gaussian around a number of atoms. Its variance is the temperature that divides them.

    Their mean over pixels is, but for a constant, the Gaussian around the pixels' mean.
    """
    classes_K = torch.arange(CLASSES, device=atoms_B1HW.device, dtype=torch.float32)
    return -0.5 * (atoms_B1HW.float() - classes_K[:, None, None]).square()


def gaussian_centre(logits_BKHW: Tensor) -> Tensor:
    """The number of atoms [B, H, W] around which `gaussian_logits` are."""
    return logits_BKHW[:, 1] - logits_BKHW[:, 0] + 0.5


def frame_means(levels: list[Tensor]) -> Tensor:
    """Mean over the frame of every channel of every level [B, all channels]; at least two rows, as the levels have."""
    rows = len(levels[-1])
    means = [level.mean((2, 3), dtype=torch.float64).float().expand(rows, -1) for level in levels]
    return torch.cat(means, dim=1)


def exact(linear: nn.Linear, x_BC: Tensor) -> Tensor:
    """A linear layer summed in float64, which rounds to the same float32 whatever the batch's size."""
    return F.linear(x_BC.double(), linear.weight.double(), linear.bias.double()).float()


NETWORKS = {"unet": (UNetConfig, UNet)}
"""Kinds that a manifest may name. A new architecture is a new kind."""


def build(kind: str, arguments: dict[str, object]) -> UNet:
    """The network a manifest describes. Raises ValueError naming what is unknown."""
    if kind not in NETWORKS:
        raise ValueError(f"network kind {kind!r} is unknown; this version knows {', '.join(NETWORKS)}")
    config, network = NETWORKS[kind]
    try:
        known = {name: tuple(v) if isinstance(v, list) else v for name, v in arguments.items()}
        return network(config(**known))  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"network {kind}: {error}") from error
