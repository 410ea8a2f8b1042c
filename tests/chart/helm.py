"""Helm for the tests: the library of a wheel if it is there, else the `helm` of the PATH.

The library is a Go program with threads and signal handlers of its own, and later tests fork: it runs in a process of
its own (helm_worker.py), which answers a line of JSON with a line of JSON.
"""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Protocol

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "segdepth"
RELEASE, NAMESPACE = "rel", "lab"
WORKER = Path(__file__).with_name("helm_worker.py")


class HelmError(Exception):
    """Helm refused, with its own words."""


class Helm(Protocol):
    """What the tests need of Helm."""

    def template(self, values: dict[str, Any]) -> dict[str, str]:
        """Rendered manifests by template. HelmError says why not: a value that the schema or a template refuses."""

    def lint(self, values: dict[str, Any]) -> list[str]:
        """Warnings and errors of `helm lint`."""

    def close(self) -> None:
        """Stop what runs."""


class LibraryHelm:
    """The helm-python-sdk wheel, in a child process."""

    def __init__(self) -> None:
        self._worker = subprocess.Popen(
            [sys.executable, str(WORKER), str(CHART)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def template(self, values: dict[str, Any]) -> dict[str, str]:
        manifests: dict[str, str] = self._ask({"do": "template", "values": values})
        return manifests

    def lint(self, values: dict[str, Any]) -> list[str]:
        messages: list[str] = self._ask({"do": "lint", "values": values})
        return messages

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._worker.stdin.write(json.dumps({**request, "name": RELEASE, "namespace": NAMESPACE}) + "\n")
        self._worker.stdin.flush()
        line = self._worker.stdout.readline()
        if not line:
            raise RuntimeError(f"Helm's process ended with {self._worker.wait(10)}")
        answer = json.loads(line)
        if "error" in answer:
            raise HelmError(answer["error"])
        return answer["answer"]

    def close(self) -> None:
        assert self._worker.stdin is not None
        self._worker.stdin.close()
        self._worker.wait(10)


class CommandHelm:
    """The `helm` command."""

    def __init__(self, command: str) -> None:
        self._command = command

    def template(self, values: dict[str, Any]) -> dict[str, str]:
        done = self._run(values, "template", RELEASE, str(CHART), "--namespace", NAMESPACE)
        if done.returncode:
            raise HelmError(done.stderr)
        manifests: dict[str, str] = {}
        for document in done.stdout.split("\n---\n"):
            source, _, rest = document.removeprefix("---\n").partition("\n")
            name = source.removeprefix("# Source: ")
            manifests[name] = f"{manifests.get(name, '')}\n---\n{rest}"
        return manifests

    def lint(self, values: dict[str, Any]) -> list[str]:
        done = self._run(values, "lint", str(CHART), "--namespace", NAMESPACE)
        return [text for text in re.split(r"^(?=\[)", done.stdout, flags=re.M) if text.startswith(("[WARN", "[ERR"))]

    def _run(self, values: dict[str, Any], *arguments: str) -> "subprocess.CompletedProcess[str]":
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(yaml.safe_dump(values))
            file.flush()
            command = [self._command, *arguments, "--kube-version", "1.34.0", "--values", file.name]
            return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def close(self) -> None:
        """Nothing runs between calls."""


def find_helm() -> Helm | None:
    """A Helm, None where there is none."""
    if importlib.util.find_spec("helm_python"):
        return LibraryHelm()
    command = shutil.which("helm")
    return CommandHelm(command) if command else None
