"""Baseline: a denoiser, then the released network, which knows noise-free frames. Nothing of the network is left out.

The denoiser is trained on simulated frames for the mean squared error alone (as Vincent et al., Microsc. Microanal. 27,
1431, 2021); it knows nothing of atoms. Suffixes as in segdepth_core.network.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from segdepth_artefacts.manifest import Manifest
from segdepth_core.engine import REFERENCE, TorchEngine, fast_bfloat16
from segdepth_core.network import Heads, Trunk, UNet
from segdepth_core.predictor import Predictor
from segdepth_core.prepare import normalise, resample
from segdepth_core.weights import WEIGHTS, fold_norms, load_network, memory_format
from segdepth_training.fitting.model import read
from segdepth_training.fitting.optimisation import learning_rate
from segdepth_training.frames.batches import camera_frames, draw_view, pick, turned
from segdepth_training.frames.exit_waves import ExitWaves
from segdepth_training.frames.imaging import draw_exposure, draw_optics, intensity
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.recipes.seeds import SeedRange, generator

DENOISER = "denoiser"
"""Folder of the baseline, and the kind of network that its manifest names."""

SEGMENTED_BY = "segmented_by"
"""Entry of the manifest's recipe: sha256 of the weights that segment what this denoiser gives."""


class Denoiser(Trunk):
    """Network input without its noise: the trunk's estimate of the noise, taken away."""

    def __init__(self, widths: tuple[int, ...], decoder_blocks: tuple[int, ...]):
        super().__init__(widths, decoder_blocks)
        self.head = nn.Conv2d(widths[0], 4, 1)
        self.head.load_state_dict({name: torch.zeros_like(t) for name, t in self.head.state_dict().items()})

    def forward(self, x_BHW: Tensor) -> Tensor:
        """Contrast [B, H, W] of frames [B, H, W]; H and W multiples of 2 to the number of levels."""
        return x_BHW + F.pixel_shuffle(self.head(self.decode(self.encode(x_BHW))), 2)[:, 0]


class DenoisingEngine(TorchEngine):
    """Denoises before the network looks."""

    def __init__(self, network: UNet, denoiser: Denoiser):
        super().__init__(network, torch.device("cpu"), REFERENCE)
        self.denoiser = denoiser

    @torch.inference_mode()
    def __call__(self, x_BHW: Tensor) -> Heads:
        """Logits of network input [B, H, W]."""
        return super().__call__(self.denoiser(x_BHW))


def draw_pairs(data: ExitWaves, recipe: Recipe, numbers: torch.Generator) -> tuple[Tensor, Tensor]:
    """Network input [B, H, W] of `recipe.training.frames` frames, and of the same exposures without noise."""
    size = recipe.training.frames
    view = draw_view(numbers, recipe, data.side_A)
    optics = draw_optics(numbers, recipe.microscope, size)
    exposure = draw_exposure(numbers, recipe.camera, size)
    seen_BHW = intensity(data.waves[pick(len(data), size, numbers)], data.side_A, optics, recipe.microscope)
    turn, flip = int(pick(4, 1, numbers)), bool(pick(2, 1, numbers))
    pair = []
    for one in (exposure, replace(exposure, dose=torch.full_like(exposure.dose, torch.inf))):
        camera_BHW = camera_frames(seen_BHW, data.side_A, one, view, numbers)
        frames_BHW = normalise(resample(camera_BHW, (view.points, view.points)))
        pair.append(turned(frames_BHW, turn, flip).contiguous())
    return pair[0], pair[1]


def denoiser_of(arguments: Mapping[str, Any]) -> Denoiser:
    """The denoiser of a recipe's or a manifest's network arguments, with random weights."""
    torch.manual_seed(0)
    return Denoiser(tuple(arguments["widths"]), tuple(arguments["decoder_blocks"]))


def train(data: ExitWaves, recipe: Recipe, seed: int, progress: Callable[..., None]) -> Denoiser:
    """A denoiser trained on exit waves, imaged anew at every step, for the mean squared error."""
    settings, device = recipe.training, data.waves.device
    denoiser = denoiser_of(settings.network).to(device).to(memory_format=torch.channels_last)
    average = AveragedModel(denoiser, multi_avg_fn=get_ema_multi_avg_fn(settings.average), use_buffers=True)
    optimizer = torch.optim.AdamW(denoiser.parameters(), weight_decay=settings.weight_decay)
    for step in range(settings.steps):
        draw = int(generator(SeedRange.TRAIN, seed, 10**6, step).integers(2**62))
        noisy_BHW, clean_BHW = draw_pairs(data, recipe, torch.Generator(device).manual_seed(draw))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device)):
            found_BHW = denoiser(noisy_BHW)
        loss = F.mse_loss(found_BHW.float(), clean_BHW)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(denoiser)
        noise = F.mse_loss(noisy_BHW, clean_BHW)
        progress(step + 1, settings.steps, {"squared error": float(loss), "of the noise": float(noise)})
    return cast(Denoiser, average.module).cpu().eval()


def load_denoiser(folder: Path) -> Denoiser:
    """The denoiser whose weights and manifest lie in `folder`. ValueError where the manifest is of something else."""
    manifest = read(folder)
    if manifest.network.kind != DENOISER:
        raise ValueError(f"{folder}: a {manifest.network.kind}, not a {DENOISER}")
    denoiser = denoiser_of(manifest.network.arguments)
    state = safetensors.torch.load_file(folder / WEIGHTS)
    denoiser.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in state.items()})
    return denoiser.eval()


def denoising(denoiser: Denoiser, model: Path, manifest: Manifest) -> Predictor:
    """Denoiser, then the network of the model in a folder, with the calibration and the gate of `manifest`."""
    network = memory_format(fold_norms(load_network(model, read(model))))
    return Predictor(DenoisingEngine(network, denoiser.to(memory_format=torch.channels_last)), manifest)
