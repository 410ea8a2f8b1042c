"""A release of the chart in a namespace of its own, with TLS and tokens: what the tests are about."""

import base64
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import segdepth
from segdepth_gateway import tokens
from tests.cluster.kube import Kube, command, until
from tests.integration.gateway.certificates import Authority

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "segdepth"
NAME = "segdepth"
GATEWAY_PORT, API_PORT = 30051, 30080
"""Node ports."""

GATEWAY = os.environ.get("CLUSTER_TEST_GATEWAY", f"127.0.0.1:{GATEWAY_PORT}")
API = os.environ.get("CLUSTER_TEST_API", f"127.0.0.1:{API_PORT}")
"""Where this machine reaches them; with k8s/kind-config.yaml that is 127.0.0.1:50051 and 127.0.0.1:8080."""

PRINCIPALS = {
    "station": ("estimate",),
    "operator": ("models:write", "estimate"),
    "analyst": ("batch", "estimate"),
    "other": ("batch",),
}


@dataclass
class Release:
    """Installed by `install`. Values that tests change are kept in `values`."""

    kube: Kube
    folder: Path
    values: dict[str, Any]
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def ca(self) -> Path:
        """The authority of gateway and api."""
        return self.folder / "authority.pem"

    def make_secrets(self) -> None:
        """Certificates and tokens, as docs/kubernetes.md says. A release that stayed keeps its own."""
        if "secret/everybody" in self.kube("get", "secrets", "-o", "name"):
            self.tokens = {who: token.decode() for who, token in self._secret("everybody").items()}
            self.ca.write_bytes(self._secret("tls")["ca.crt"])
            return
        names = [f"{NAME}-{part}" for part in ("gateway", "gateways", "api")]
        ends = ("", f".{self.kube.namespace}", f".{self.kube.namespace}.svc")
        cert, key = Authority(self.folder).issue("gateway", tuple(name + end for name in names for end in ends))
        file = self.folder / "tokens.json"
        self.tokens = {who: tokens.mint(file, who, scopes) for who, scopes in PRINCIPALS.items()}
        tls = {"tls.crt": cert.read_bytes(), "tls.key": key.read_bytes(), "ca.crt": self.ca.read_bytes()}
        self.kube.apply(
            secret("tls", "kubernetes.io/tls", tls),
            secret("tokens", "Opaque", {"tokens.json": file.read_bytes()}),
            secret("test-token", "Opaque", {"token": self.tokens["station"].encode()}),
            secret("everybody", "Opaque", {who: token.encode() for who, token in self.tokens.items()}),
        )

    def _secret(self, name: str) -> dict[str, bytes]:
        return {key: base64.b64decode(value) for key, value in self.kube.get("secret", name)["data"].items()}

    def upgrade(self, **changes: Any) -> str:
        """helm upgrade --install with `values` and some changes that stay. Returns at once."""
        self.values = merged(self.values, changes)
        file = self.folder / "values.yaml"
        file.write_text(yaml.safe_dump(self.values))
        where = ("--namespace", self.kube.namespace)
        return command("helm", "upgrade", "--install", NAME, str(CHART), *where, "--values", str(file), timeout_s=180)

    def wait_ready(self, timeout_s: float = 600) -> None:
        """Return when a frame would be answered."""
        ready = ("--for=condition=Ready", f"rayservice/{NAME}", f"--timeout={timeout_s:g}s")
        self.kube("wait", *ready, timeout_s=timeout_s + 10)
        with self.client("station") as client:

            def healthy() -> bool:
                try:
                    return client.healthy(timeout_s=5)
                except segdepth.SegDepthError:
                    return False

            until("the gateway says SERVING", healthy, timeout_s)

    def client(self, who: str, **options: Any) -> segdepth.Client:
        """A client outside the cluster, by the node port."""
        tls = segdepth.TLS(ca=self.ca)
        patience = segdepth.Patience(first_connection_s=60, reconnection_s=300)
        options = {"token": self.tokens.get(who), "tls": tls, "patience": patience, **options}
        return segdepth.connect(GATEWAY, **options)

    def environment(self, who: str) -> dict[str, str]:
        """For the command line: who asks, whom, and whom to trust."""
        return {
            "SEGDEPTH_TOKEN": self.tokens[who],
            "SEGDEPTH_SERVER": GATEWAY,
            "SEGDEPTH_API": f"https://{API}",
            "SEGDEPTH_CA": str(self.ca),
        }

    def store_environment(self, component: str) -> dict[str, Any]:
        """Of a pod that may do in the store what a component may, and reaches it."""
        keys = (("SEGDEPTH_STORE_ACCESS_KEY", "access-key"), ("SEGDEPTH_STORE_SECRET_KEY", "secret-key"))
        source = f"{NAME}-store-{component}"
        return {
            "labels": {
                "segdepth.io/instance": NAME,
                "app.kubernetes.io/name": "segdepth",
                "app.kubernetes.io/instance": NAME,
                "app.kubernetes.io/component": "test",
            },
            "env": [{"name": n, "valueFrom": {"secretKeyRef": {"name": source, "key": k}}} for n, k in keys],
            "env_from": [{"configMapRef": {"name": f"{NAME}-store"}}],
        }


def image(name: str) -> str:
    """One of ours, as the chart names it."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    return f"{values['images'][name]['repository']}:{version}"


def secret(name: str, kind: str, data: dict[str, bytes]) -> dict[str, Any]:
    """A Secret."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name}, "data": encoded}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on it, as helm lays values."""
    result = json.loads(json.dumps(base))
    for key, value in over.items():
        inner = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if inner else value
    return dict(result)


def values_of(files: Iterable[Path]) -> dict[str, Any]:
    """Values of several files, the later over the earlier."""
    result: dict[str, Any] = {}
    for file in files:
        result = merged(result, yaml.safe_load(file.read_text()) or {})
    return result
