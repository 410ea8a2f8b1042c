"""NetworkPolicies evaluated as Kubernetes defines them: what may connect to what.

A connection is allowed if the source's egress and the target's ingress both allow it. A pod that no policy of a
direction selects is open in that direction; one that some select may do what any of their rules allows, nothing else.
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Manifest = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Pod:
    """A pod as policies see it: its labels, its namespace's, its address, and its named ports."""

    namespace: str
    labels: Mapping[str, str]
    ip: str = "10.244.0.99"
    ports: Mapping[str, int] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_namespace_labels(self) -> dict[str, str]:
        return {"kubernetes.io/metadata.name": self.namespace, **self.namespace_labels}


@dataclass(frozen=True, eq=False)
class Host:
    """What is no pod of the cluster: a station, a node, the API server, an S3 service elsewhere."""

    ip: str


Peer = Pod | Host


def allowed(policies: Iterable[Manifest], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether `source` may open a connection to `target` at `port`."""
    policies = list(policies)
    return _direction_allows(policies, "Egress", source, target, target, port, protocol) and _direction_allows(
        policies, "Ingress", target, source, target, port, protocol
    )


def isolated(policies: Iterable[Manifest], pod: Pod, direction: str) -> bool:
    """Whether any policy of `direction` (Ingress or Egress) selects the pod."""
    return any(_selects(policy, pod, direction) for policy in policies)


def _direction_allows(
    policies: list[Manifest], direction: str, own: Peer, other: Peer, target: Peer, port: int, protocol: str
) -> bool:
    if isinstance(own, Host):
        return True
    selecting = [policy for policy in policies if _selects(policy, own, direction)]
    if not selecting:
        return True
    name, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return any(
        _peers_match(rule.get(peers), other, policy["metadata"]["namespace"])
        and _ports_match(rule.get("ports"), target, port, protocol)
        for policy in selecting
        for rule in policy["spec"].get(name) or []
    )


def _selects(policy: Manifest, pod: Pod, direction: str) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    return (
        direction in types
        and policy["metadata"]["namespace"] == pod.namespace
        and selector_matches(spec.get("podSelector") or {}, pod.labels)
    )


def _peers_match(peers: list[Manifest] | None, other: Peer, namespace: str) -> bool:
    return not peers or any(_peer_matches(peer, other, namespace) for peer in peers)


def _peer_matches(peer: Manifest, other: Peer, namespace: str) -> bool:
    if "ipBlock" in peer:
        return _block_holds(peer["ipBlock"], other.ip)
    if isinstance(other, Host):
        return False
    if "namespaceSelector" in peer:
        here = selector_matches(peer["namespaceSelector"] or {}, other.all_namespace_labels)
    else:
        here = other.namespace == namespace
    return here and selector_matches(peer.get("podSelector") or {}, other.labels)


def _block_holds(block: Manifest, ip: str) -> bool:
    address = ip_address(ip)
    return address in ip_network(block["cidr"]) and not any(
        address in ip_network(part) for part in block.get("except") or []
    )


def _ports_match(ports: list[Manifest] | None, target: Peer, port: int, protocol: str) -> bool:
    return not ports or any(_port_matches(entry, target, port, protocol) for entry in ports)


def _port_matches(entry: Manifest, target: Peer, port: int, protocol: str) -> bool:
    if entry.get("protocol", "TCP") != protocol:
        return False
    first = entry.get("port")
    if first is None:
        return True
    if isinstance(first, str):
        return isinstance(target, Pod) and target.ports.get(first) == port
    return bool(first <= port <= entry.get("endPort", first))


def selector_matches(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    exact = all(labels.get(name) == value for name, value in (selector.get("matchLabels") or {}).items())
    return exact and all(_expression_holds(each, labels) for each in selector.get("matchExpressions") or [])


def _expression_holds(expression: Manifest, labels: Mapping[str, str]) -> bool:
    name, operator = expression["key"], expression["operator"]
    match operator:
        case "Exists":
            return name in labels
        case "DoesNotExist":
            return name not in labels
        case "In":
            return labels.get(name) in expression["values"]
        case "NotIn":
            return labels.get(name) not in expression["values"]
    raise ValueError(f"no such operator: {operator}")
