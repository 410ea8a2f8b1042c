"""Make .venv and install every package of this repository into it, editable, at the versions of constraints.txt.

    python3.11 tools/install.py

uv does it in a fraction of pip's time and is told what pip is configured with (index, certificates); where uv cannot be
had, pip does it. Run again after a change of constraints.txt or of a pyproject.toml.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = str(VENV / "bin" / "python")
STAMP = VENV / "installed"

PACKAGES = (
    "protos",
    "clients/python[cli,pandas,pva,mp4]",
    "services/artefacts",
    "services/core",
    "services/inference[serve]",
    "services/gateway",
    "services/api",
    "services/batch",
    "services/stack",
    "training",
)

FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
"""pip's settings that decide where packages come from, and what uv calls them."""


def main() -> None:
    """Install, with uv if there is uv."""
    if sys.version_info < (3, 11):  # noqa: UP036 - run by whatever Python the machine has
        sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; try: make PYTHON=python3.11 venv")
    if not Path(PYTHON).exists():
        venv.create(VENV, with_pip=True)
    what = ["-c", "constraints.txt", "--group", "dev"]
    for package in PACKAGES:
        what += ["-e", package]
    if not uv(what):
        print("uv cannot be had here: pip takes a few minutes instead", flush=True)
        pip("install", "--quiet", "-c", "constraints.txt", "pip").check_returncode()  # an old pip knows no --group
        pip("install", *what).check_returncode()
    STAMP.touch()


def uv(what: list[str]) -> bool:
    """Install with uv, itself installed by pip. False if either step fails."""
    if pip("install", "--quiet", "-c", "constraints.txt", "uv").returncode != 0:
        return False
    command = [str(VENV / "bin" / "uv"), "pip", "install", "--python", PYTHON, *what]
    return subprocess.run(command, cwd=ROOT, env=uv_environment(), check=False).returncode == 0


def uv_environment() -> dict[str, str]:
    """The environment that makes uv look where pip looks. What is set for uv already is left alone."""
    listed = pip("config", "list", capture=True).stdout
    settings = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        settings[name.split(".", 1)[-1]] = value.strip("'\"").replace("\\n", " ").strip()
    translated = {uv: settings[name] for name, uv in FROM_PIP.items() if settings.get(name)}
    # As pip does: the machine's certificates, and the best version of all indexes.
    return {"UV_SYSTEM_CERTS": "true", "UV_INDEX_STRATEGY": "unsafe-best-match", **translated, **os.environ}


def pip(*arguments: str, capture: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run the environment's own pip, its output kept with `capture`."""
    stdout = subprocess.PIPE if capture else None
    return subprocess.run([PYTHON, "-m", "pip", *arguments], cwd=ROOT, stdout=stdout, text=True, check=False)


if __name__ == "__main__":
    main()
