"""What each component's key may do in the store: the policies that MinIO gets, evaluated."""

import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.chart.helm import CHART
from tests.chart.manifests import of_kind, pods
from tests.chart.policy import Manifest

Render = Callable[[str], list[Manifest]]
COMPONENTS = {"gateway", "inference", "training", "batch", "api", "seed"}
MODEL = "segdepth-models/models/ceo2-110/1/weights.safetensors"
CHANNEL = "segdepth-models/channels/ceo2-110/stable.json"
LEASE = "segdepth-models/leases/training-ceo2-110.json"
SHADOW = "segdepth-models/shadow/ceo2-110/2/1/replica.json"
PROBE = "segdepth-models/.probe/x"
RUN = "segdepth-training/runs/1/exit-waves.zarr/c/0"
JOB = "segdepth-batch/jobs/1/state.json"

MAY = {
    "s3:GetObject": {
        MODEL: {"gateway", "inference", "training", "batch", "seed"},
        CHANNEL: {"gateway", "inference", "training", "batch", "seed"},
        SHADOW: {"gateway", "inference", "training", "batch", "seed"},
        RUN: {"training"},
        JOB: {"api", "batch"},
    },
    "s3:PutObject": {
        MODEL: {"training", "seed"},
        CHANNEL: {"gateway", "training", "seed"},
        LEASE: {"training"},
        SHADOW: {"inference"},
        PROBE: {"gateway", "inference", "training", "seed"},
        RUN: {"training"},
        JOB: {"api", "batch"},
    },
    "s3:DeleteObject": {
        MODEL: set(),
        CHANNEL: set(),
        SHADOW: set(),
        LEASE: {"training"},
        RUN: {"training"},
        JOB: {"api", "batch"},
    },
    "s3:PutBucketPolicy": {"segdepth-models": set(), "segdepth-batch": set(), "segdepth-training": set()},
    "s3:DeleteBucket": {"segdepth-models": set(), "segdepth-batch": set(), "segdepth-training": set()},
    "s3:ListAllMyBuckets": {"segdepth-models": set()},
}
"""Who may do an action to an object: exactly these."""


def policies(manifests: list[Manifest]) -> dict[str, dict[str, Any]]:
    (buckets,) = (each for each in of_kind(manifests, "ConfigMap") if each["metadata"]["name"].endswith("-buckets"))
    return {
        name.removesuffix(".json"): json.loads(text) for name, text in buckets["data"].items() if name.endswith(".json")
    }


def may(policy: dict[str, Any], action: str, resource: str) -> bool:
    """As S3 evaluates it: what no statement allows is denied, and what one denies is."""
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if any(fnmatchcase(action, pattern) for pattern in statement["Action"])
        and any(fnmatchcase(f"arn:aws:s3:::{resource}", pattern) for pattern in statement["Resource"])
    }
    return effects == {"Allow"}


@pytest.mark.parametrize("action", MAY)
def test_each_key_may_do_what_it_must_and_no_more(render: Render, action: str) -> None:
    there = policies(render("default"))
    for resource, who in MAY[action].items():
        assert {component for component, policy in there.items() if may(policy, action, resource)} == who, resource


def test_every_key_has_a_policy(render: Render) -> None:
    assert policies(render("default")).keys() == COMPONENTS
    assert {path.stem for path in (CHART / "files" / "policies").glob("*.json")} == COMPONENTS


def test_policies_name_actions_one_by_one(render: Render) -> None:
    for name, policy in policies(render("default")).items():
        actions = {action for statement in policy["Statement"] for action in statement["Action"]}
        assert not any("*" in action or action.startswith("admin:") for action in actions), name


def test_policies_are_for_the_buckets_of_the_values(helm: Any) -> None:
    from tests.chart.conftest import OPEN
    from tests.chart.manifests import documents

    values = {**OPEN, "store": {"buckets": {"models": "a-models", "training": "a-training", "batch": "a-batch"}}}
    manifests = [manifest for text in helm.template(values).values() for manifest in documents(text)]
    resources = str(policies(manifests))
    assert "a-models" in resources
    assert "segdepth-" not in resources
    (bootstrap,) = (pod for pod in pods(manifests) if pod.component == "buckets")
    variables = {each["name"]: each.get("value") for each in bootstrap.spec["containers"][0]["env"]}
    assert variables["BUCKETS"] == "a-batch a-models a-training"
    assert set(variables["COMPONENTS"].split()) == COMPONENTS
