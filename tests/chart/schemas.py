"""Whether the API server would take a manifest: Kubernetes' own schemas, and KubeRay's (tools/chart/kuberay.py)."""

import functools
import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry, Resource

from tests.chart.policy import Manifest

KUBERNETES = "v1.34.0-local-strict"
"""Strict: a field that Kubernetes does not know is an error."""
OPERATORS = {"monitoring.coreos.com/v1"}
"""Prometheus Operator's kinds: no schema of theirs comes with any package; test_monitoring.py looks at them."""


def violations(manifest: Manifest) -> list[str]:
    """What is wrong with a manifest, by field. An unknown kind is an error too."""
    if manifest["apiVersion"] in OPERATORS:
        return []
    errors = _validator(manifest["apiVersion"], manifest["kind"]).iter_errors(manifest)
    return [f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message[:300]}" for error in errors]


@functools.cache
def _validator(api_version: str, kind: str) -> jsonschema.Draft202012Validator:
    if api_version == "ray.io/v1":
        schema = json.loads(Path(__file__).parent.joinpath("kuberay", f"{kind.lower()}.json").read_text())
    else:
        # As the package names its files: rbac.authorization.k8s.io/v1 is rbac-v1.
        group = re.sub(r"^([^./]*)(?:[.][^/]*)?/", r"\1-", api_version)
        schema = _kubernetes(f"{kind.lower()}-{group}.json")
    return jsonschema.Draft202012Validator(schema, registry=_registry())


@functools.cache
def _registry() -> "Registry[Any]":
    return Resource.from_contents(_kubernetes("_definitions.json")) @ Registry()


def _kubernetes(name: str) -> Any:
    folder = importlib.resources.files("kubernetes_validate").joinpath("kubernetes-json-schema", KUBERNETES)
    return json.loads(folder.joinpath(name).read_text())
