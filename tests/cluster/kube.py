"""kubectl and helm, as an operator types them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class CommandFailed(AssertionError):
    """The command ended with another status than 0; the message has what it said."""


def command(
    *words: str, stdin: str | None = None, timeout_s: float = 120, environment: dict[str, str] | None = None
) -> str:
    """What a command prints on stdout. CommandFailed with all that it said if it fails."""
    env = os.environ | (environment or {})
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout_s, env=env)
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(words)}\nended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def segdepth_command(*words: str, timeout_s: float = 120, **environment: str) -> str:
    """What `segdepth ...` of this Python prints."""
    program = str(Path(sys.executable).parent / "segdepth")
    return command(program, *words, timeout_s=timeout_s, environment=environment)


def until(what: str, look: Callable[[], T | None], timeout_s: float, pause_s: float = 1.0) -> T:
    """The first true value of `look`, asked again and again. AssertionError that says `what` was waited for."""
    end = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < end, f"after {timeout_s:g} s still not: {what}"
        time.sleep(pause_s)
    return found


@dataclass(frozen=True)
class Kube:
    """The cluster of KUBECONFIG, one namespace of it."""

    namespace: str

    def __call__(self, *words: str, stdin: str | None = None, timeout_s: float = 120) -> str:
        """kubectl in this namespace."""
        return command("kubectl", "--namespace", self.namespace, *words, stdin=stdin, timeout_s=timeout_s)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Make or change objects."""
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, *words: str) -> Any:
        """An object, or the items of a list."""
        found = json.loads(self("get", *words, "-o", "json"))
        return found.get("items", found)

    def pods(self, component: str, *, ready: bool = True) -> list[str]:
        """Names of a component's pods that run (and are ready) and are not about to go."""
        return [
            pod["metadata"]["name"]
            for pod in self.get("pods", "-l", f"app.kubernetes.io/component={component}")
            if "deletionTimestamp" not in pod["metadata"] and (not ready or is_ready(pod))
        ]

    def delete_pod(self, component: str) -> str:
        """Delete one pod of a component, and return its name at once."""
        name = self.pods(component)[0]
        self("delete", "pod", name, "--wait=false")
        return name

    def run(self, name: str, image: str, code: str, *, timeout_s: float = 120, **spec: Any) -> str:
        """What a Python program prints in a pod of its own. CommandFailed if it fails. `spec`: labels, env, envFrom."""
        self("delete", "pod", name, "--ignore-not-found", "--wait=true")
        self.apply(python_pod(name, image, code, **spec))

        def phase() -> str | None:
            now = self.get("pod", name)["status"]["phase"]
            return now if now in ("Succeeded", "Failed") else None

        ended = until(f"pod {name} ends", phase, timeout_s)
        said = self("logs", name)
        self("delete", "pod", name, "--wait=false")
        if ended == "Failed":
            raise CommandFailed(f"pod {name} failed: {said}")
        return said


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether the kubelet says so."""
    conditions = pod["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def python_pod(
    name: str,
    image: str,
    code: str,
    *,
    labels: dict[str, str] | None = None,
    env: list[dict[str, Any]] | None = None,
    env_from: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A pod that a restricted namespace takes."""
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "python",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", code],
        "securityContext": security,
        "env": [{"name": "HOME", "value": "/tmp"}, *(env or [])],
        "envFrom": env_from or [],
        "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [container],
        },
    }
