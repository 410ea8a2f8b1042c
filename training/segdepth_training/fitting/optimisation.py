"""One network being trained: its loss, its optimiser, its moving average, and its checkpoints."""

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from segdepth_artefacts.manifest import Manifest
from segdepth_core.engine import fast_bfloat16
from segdepth_core.network import Heads, UNet, build, gaussian_centre
from segdepth_core.weights import load_network
from segdepth_training.frames.batches import Batch
from segdepth_training.recipes.recipe import Training

CHECKPOINT = "checkpoint.safetensors"


class NonFiniteLoss(RuntimeError):
    """The loss is NaN or infinite: the run is of no use from here on."""


def loss_parts(heads: Heads, batch: Batch, settings: Training) -> dict[str, Tensor]:
    """The weighted parts of the loss (scalars). Frames shown inverted teach the inversion head alone."""
    upright_B = (~batch.inverted).float()
    depth_BHW, species_BHW = batch.labels.depth, batch.labels.species
    weight_BHW = torch.where(depth_BHW > 0, 1.0, settings.background_weight) * upright_B[:, None, None]
    depth = depth_loss(heads.depth_BKHW.float(), depth_BHW, regression=settings.regresses)
    on_disk_BHW = (species_BHW >= 0) * upright_B[:, None, None]
    species = F.cross_entropy(heads.species_BSHW.float(), species_BHW.clamp(min=0), reduction="none")
    centre = F.binary_cross_entropy_with_logits(heads.centre_BHW.float(), batch.labels.centre, reduction="none")
    return {
        "depth": (depth * weight_BHW).sum() / weight_BHW.sum().clamp(min=1),
        "species": 0.2 * (species * on_disk_BHW).sum() / on_disk_BHW.sum().clamp(min=1),
        "centre": (centre * upright_B[:, None, None]).sum() / (upright_B.sum().clamp(min=1) * centre[0].numel()),
        "inverted": 0.1 * F.binary_cross_entropy_with_logits(heads.inverted_B.float(), batch.inverted.float()),
    }


def depth_loss(logits_BKHW: Tensor, depth_BHW: Tensor, *, regression: bool) -> Tensor:
    """Of each pixel [B, H, W]: cross-entropy of its class, or the smooth distance in atoms where one number is told."""
    if regression:
        return F.smooth_l1_loss(gaussian_centre(logits_BKHW), depth_BHW.float(), reduction="none")
    return F.cross_entropy(logits_BKHW, depth_BHW, reduction="none")


def learning_rate(step: int, settings: Training) -> float:
    """Linear warm-up, then half a cosine to 1 % of the peak."""
    warmup = max(1, int(settings.warmup_share * settings.steps))
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def started(folder: Path, settings: Training) -> tuple[UNet, tuple[str, ...]]:
    """The network of the released model in `folder` as the settings want it, and the names of its parts that are new.

    New is the frame's descriptor where the released network has none, and of the head what tells the depth where that
    is told in another way, and the species where their number differs. Raises ValueError where anything else does.
    """
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
    network, wanted = load_network(folder, manifest), build("unet", dict(settings.network))
    known, asked = network.config, wanted.config
    context = known.context or asked.context
    if dataclasses.replace(known, context=context, depth=asked.depth, species=asked.species) != asked:
        raise ValueError(f"training.start = {folder}: its network is another than training.network asks for")
    state = network.state_dict()
    fresh: tuple[str, ...] = ("context.",)
    if (known.depth, known.species) != (asked.depth, asked.species):
        fresh += ("head.",)
        for name, anew in wanted.head.state_dict().items():
            # Four rows a channel, for the four pixels that each of the head's becomes.
            olds = state[f"head.{name}"].split([4 * channels for channels in known.head_channels])
            news = anew.split([4 * channels for channels in asked.head_channels])
            parts = zip(olds, news, strict=True)
            state[f"head.{name}"] = torch.cat([old if len(old) == len(new) else new for old, new in parts])
    wanted.load_state_dict(state, strict=False)
    return wanted, fresh


def parameter_groups(network: UNet, settings: Training, new: tuple[str, ...]) -> list[dict[str, Any]]:
    """Parameters for the optimiser: matrices decay, vectors do not; `share` is of the learning rate.

    What a network has of a released model learns slower than its parts that are `new`.
    """
    groups = []
    for fresh in (True, False):
        some = [p for name, p in network.named_parameters() if name.startswith(new) == fresh]
        share = 1.0 if fresh else settings.start_share
        for decay, matrices in ((settings.weight_decay, True), (0.0, False)):
            params = [p for p in some if (p.ndim > 1) == matrices]
            if params:
                groups.append({"params": params, "weight_decay": decay, "share": share})
    return groups


def steps_done(folder: Path) -> int:
    """The step at which the checkpoint in `folder` was written."""
    with safe_open(folder / CHECKPOINT, "pt") as file:
        return int(file.metadata()["step"])


class Optimisation:
    """Network, AdamW and moving average. `step` counts the steps done; checkpoints restore all of it."""

    def __init__(self, settings: Training, seed: int, device: torch.device, start: Path | None = None):
        """`start`: folder of the released model to start from. Raises ValueError for one of another network."""
        torch.manual_seed(seed)
        self.settings, self.device, self.step = settings, device, 0
        self._bfloat16 = fast_bfloat16(device)
        new: tuple[str, ...] = ("",)
        if start is None:
            network = build("unet", dict(settings.network))
        else:
            network, new = started(start, settings)
        self.network: UNet = network.to(device).to(memory_format=torch.channels_last)
        self.average: UNet = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(parameter_groups(self.network, settings, new))
        self.forward: nn.Module = self.network
        if settings.compile and device.type == "cuda":
            self.forward = cast(nn.Module, torch.compile(self.network))

    def advance(self, batch: Batch) -> dict[str, Tensor]:
        """One step; returns the loss and its parts, detached."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.settings) * group["share"]
        self.forward.train()
        if self.settings.keep_norms:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
            heads = self.forward(batch.frames)
        parts = loss_parts(heads, batch, self.settings)
        total = torch.stack(list(parts.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        follow(self.average, self.network, self.settings.average, self.step)
        return {"loss": total.detach(), **{name: part.detach() for name, part in parts.items()}}

    def check(self, losses: dict[str, Tensor]) -> None:
        """Raise NonFiniteLoss where the loss of the last step is not a number. Waits for the device."""
        if not bool(torch.isfinite(losses["loss"])):
            raise NonFiniteLoss(f"loss is {float(losses['loss'])} at step {self.step}; lower training.learning_rate")

    def save(self, folder: Path) -> Path:
        """Write a checkpoint of everything into `folder`, complete or not at all."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{k}": v for k, v in state.items()}
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / (CHECKPOINT + ".partial")
        contiguous = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        save_file(contiguous, partial, {"step": str(self.step)})
        partial.replace(folder / CHECKPOINT)
        return folder / CHECKPOINT

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint that `save` wrote."""
        self.step = steps_done(folder)
        tensors = load_file(folder / CHECKPOINT)
        for name, module in (("network.", self.network), ("average.", self.average)):
            module.load_state_dict({k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)})
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, number, field = key.split(".")
                state.setdefault(int(number), {})[field] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the moving average of a network's weights towards them, after a step; faster at the beginning."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    ours, theirs = average.state_dict(), network.state_dict()
    floating = [name for name, value in ours.items() if value.is_floating_point()]
    torch._foreach_lerp_([ours[n] for n in floating], [theirs[n] for n in floating], weight)
