"""One Helm for the session, and what the chart renders for each set of values, rendered once."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, Helm, find_helm
from tests.chart.manifests import documents
from tests.chart.policy import Manifest

Values = dict[str, Any]
OPEN: Values = {"gateway": {"insecure": True}, "api": {"insecure": True}}
"""The least that must be said: that nothing secures it."""
CI = {path.stem: path for path in sorted((CHART / "ci").glob("*.yaml"))}
SITES = {path.stem: path for path in sorted((CHART.parents[1] / "k8s" / "sites").glob("*.yaml"))}
TOGGLES: dict[str, Values] = {
    "default": {},
    "no-api": {"api": {"enabled": False}, "batch": {"enabled": False}},
    "no-training": {"training": {"enabled": False}},
    "no-batch": {"batch": {"enabled": False}},
    "no-policies": {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
    "monitored": {"monitoring": {"serviceMonitor": True, "prometheusRule": True, "dashboard": True}},
    "registry": {"images": {"registry": "registry.example/em/", "pullSecrets": ["pull-a", "pull-b"]}},
    "own-recipe": {"training": {"recipe": "[recipe]\nname = 'own'\n"}},
    "no-seed": {"store": {"seed": False}},
    "node-ports": {
        "gateway": {"service": {"type": "NodePort", "nodePort": 30051}},
        "api": {"service": {"type": "NodePort", "nodePort": 30080}},
    },
}
MATRIX = [*CI, *SITES, *TOGGLES]


def values_of(name: str) -> Values:
    """Values of a file of ci/ or k8s/sites, or of a toggle on top of the defaults."""
    if name in CI | SITES:
        values: Values = yaml.safe_load((CI | SITES)[name].read_text())
        return values
    return merged(OPEN, TOGGLES[name])


def merged(below: Values, above: Values) -> Values:
    """Both, as Helm merges values: mappings key by key, everything else as `above` has it."""
    both = dict(below)
    for name, value in above.items():
        old = both.get(name)
        both[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


@pytest.fixture(scope="session")
def helm() -> Iterator[Helm]:
    found = find_helm()
    if found is None:
        pytest.skip("no Helm: the wheel helm-python-sdk is for x86-64 Linux, elsewhere `helm` must be on the PATH")
    yield found
    found.close()


@pytest.fixture(scope="session")
def render(helm: Helm) -> Callable[[str], list[Manifest]]:
    """Manifests of a set of values, by its name."""
    done: dict[str, list[Manifest]] = {}

    def once(name: str) -> list[Manifest]:
        if name not in done:
            rendered = helm.template(values_of(name))
            done[name] = [manifest for text in rendered.values() for manifest in documents(text)]
        return done[name]

    return once


@pytest.fixture(params=MATRIX)
def manifests(request: pytest.FixtureRequest, render: Callable[[str], list[Manifest]]) -> list[Manifest]:
    """What the chart renders for one set of values of the matrix."""
    return render(request.param)
