"""Which engine and number type answer, and that only pairs which the model's report evaluated may."""

from pathlib import Path

import torch
from torch import Tensor

from segdepth_artefacts.manifest import Manifest
from segdepth_core.network import Heads, UNet

REFERENCE = "torch-fp32"
BFLOAT16 = "torch-bf16"
ENGINES = (REFERENCE, BFLOAT16)
"""What this version can run."""

COUNTS_EQUAL = 0.999
"""Share of columns that must have the reference's count."""

ECE_DIFFERENCE = 0.002
"""How far the expected calibration error may be from the reference's."""

AMD = "AuthenticAMD"
"""Vendor, as the CPU itself says it."""


class EngineRefused(ValueError):
    """An engine that may not answer: unknown here, not evaluated by the report, or too far from the reference."""


def permitted(manifest: Manifest) -> tuple[str, ...]:
    """Engines that this version can run and the model's report found equal to the reference."""
    return tuple(
        engine.name
        for engine in manifest.engines
        if engine.name in ENGINES
        and engine.counts_equal >= COUNTS_EQUAL
        and abs(engine.ece_difference) <= ECE_DIFFERENCE
    )


def choose_engine(manifest: Manifest, device: torch.device, wanted: str = "auto") -> str:
    """The engine that answers: `wanted`, or of the permitted ones the fastest on this device.

    Raises EngineRefused saying which engines there are.
    """
    allowed = permitted(manifest)
    if wanted == "auto":
        if BFLOAT16 in allowed and fast_bfloat16(device):
            return BFLOAT16
        if REFERENCE in allowed:
            return REFERENCE
        if allowed:
            return allowed[0]
    elif wanted in allowed:
        return wanted
    raise EngineRefused(
        f"engine {wanted!r} may not answer for {manifest.family} {manifest.version}: its report permits "
        f"{', '.join(allowed) or 'none of ' + ', '.join(ENGINES)} (counts equal on >= {COUNTS_EQUAL:.1%} of columns,"
        f" calibration error within {ECE_DIFFERENCE})"
    )


def choose_device(wanted: str = "auto") -> torch.device:
    """The GPU if there is one, else the CPU; or what is wanted (a name of torch)."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bf16 beats fp32 here: tensor cores, AMX, or AMD's AVX-512 that multiplies bf16.

    Intel's AVX-512 has the instruction too, but not twice the rate: on Emerald Rapids without AMX bf16 takes 1.6 times
    as long as fp32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags, vendor = cpu_flags(), cpu_field("vendor_id")
    return "amx_bf16" in flags or ("avx512_bf16" in flags and vendor == AMD)


def cpu_flags() -> frozenset[str]:
    """The CPU's flags as Linux lists them; empty on other systems."""
    return frozenset(cpu_field("flags").split())


def cpu_field(name: str) -> str:
    """What Linux tells of the first CPU under that name; empty on other systems."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        field, _, value = line.partition(":")
        if field.strip() == name:
            return value.strip()
    return ""


class TorchEngine:
    """The network in torch, in fp32 or under bf16 autocast. Its answer is always fp32."""

    def __init__(self, network: UNet, device: torch.device, name: str):
        if name not in ENGINES:
            raise EngineRefused(f"engine {name!r} is unknown; this version can run {', '.join(ENGINES)}")
        self.network = network.to(device)
        self.device = device
        self.name = name

    @torch.inference_mode()
    def __call__(self, x_BHW: Tensor) -> Heads:
        """Logits of network input [B, H, W]; H and W multiples of the network's stride."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.name == BFLOAT16):
            heads = self.network(x_BHW)
        return Heads(*(logits.float() for logits in heads))
