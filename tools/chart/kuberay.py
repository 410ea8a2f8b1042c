"""Write tests/chart/kuberay/*.json: what KubeRay's own API accepts, to check rendered manifests against.

python -m tools.chart.kuberay CRDS      # the folder config/crd/bases of KubeRay's ray-operator (Apache-2.0)

Of each definition the version v1 is kept, without descriptions and status, and with pod templates left to Kubernetes'
own schema. A field that a definition does not know is an error here; the API server would drop it in silence.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

KINDS = ("rayclusters", "rayjobs", "rayservices")
FOLDER = Path(__file__).parents[2] / "tests" / "chart" / "kuberay"
POD_TEMPLATE = {"$ref": "https://kubernetes.io/api/_definitions.json#/$defs/io.k8s.api.core.v1.PodTemplateSpec"}
"""As the schemas of the package kubernetes-validate name it."""


def compact(node: Any) -> Any:
    """A part of a definition, without prose, closed to unknown fields, pod templates by reference."""
    if isinstance(node, list):
        return [compact(each) for each in node]
    if not isinstance(node, dict):
        return node
    properties = node.get("properties")
    if isinstance(properties, dict) and "containers" in properties.get("spec", {}).get("properties", {}):
        return POD_TEMPLATE
    kept = {name: value for name, value in node.items() if name not in ("description", "properties")}
    out = {name: compact(value) for name, value in kept.items()}
    if isinstance(properties, dict):
        out["properties"] = {name: compact(value) for name, value in properties.items()}
        out.setdefault("additionalProperties", bool(node.get("x-kubernetes-preserve-unknown-fields", False)))
    return out


def schema(definition: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of one CustomResourceDefinition's v1."""
    (version,) = (each for each in definition["spec"]["versions"] if each["name"] == "v1")
    made: dict[str, Any] = compact(version["schema"]["openAPIV3Schema"])
    made["properties"].pop("status", None)
    made["properties"]["metadata"] = {"type": "object"}
    return made


def main() -> None:
    """Write the three files."""
    (crds,) = sys.argv[1:]
    FOLDER.mkdir(exist_ok=True)
    for kind in KINDS:
        definition = yaml.safe_load(Path(crds, f"ray.io_{kind}.yaml").read_text())
        name = definition["spec"]["names"]["kind"].lower()
        (FOLDER / f"{name}.json").write_text(json.dumps(schema(definition), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
