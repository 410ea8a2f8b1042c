"""Write constraints.txt: every package of this environment at its version, without ours and without addresses.

python tools/pin.py
"""

from importlib.metadata import distributions
from pathlib import Path


def pins() -> list[str]:
    """`name==version` of every installed distribution that is not one of ours."""
    installed = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions()}
    return [f"{name}=={version}" for name, version in sorted(installed.items()) if not name.startswith("segdepth")]


if __name__ == "__main__":
    Path(__file__).resolve().parent.parent.joinpath("constraints.txt").write_text("\n".join(pins()) + "\n")
