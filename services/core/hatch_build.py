"""The released model travels with the package, so that local mode works wherever it is installed."""  # noqa: INP001

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ReleasedModel(BuildHookInterface[Any]):
    """Adds training/released to the wheel (as segdepth_core/released) and to the source distribution."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """An editable installation finds the model where it lies in the repository."""
        root = Path(self.root)
        beside, packed = root.parents[1] / "training" / "released", root / "released"
        folder = packed if packed.is_dir() else beside
        if version == "editable":
            return
        into = "released" if self.target_name == "sdist" else "segdepth_core/released"
        for part in ("models", "channels"):
            if (folder / part).is_dir():
                build_data["force_include"][str(folder / part)] = f"{into}/{part}"
