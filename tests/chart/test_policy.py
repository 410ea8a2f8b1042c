"""The evaluator itself, against policies whose effect the Kubernetes documentation states."""

from typing import Any

import pytest

from tests.chart.policy import Host, Pod, allowed, isolated

A = Pod("shop", {"app": "a"}, "10.244.0.1")
B = Pod("shop", {"app": "b", "tier": "back"}, "10.244.0.2", {"grpc": 50051})
OTHER = Pod("elsewhere", {"app": "a"}, "10.244.0.3", namespace_labels={"team": "red"})
OUTSIDE = Host("192.0.2.7")
DENY = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def policy(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": "p"}, "spec": {"podSelector": {}, **spec}}


def ingress(**rule: Any) -> dict[str, Any]:
    return policy(podSelector={"matchLabels": {"app": "b"}}, ingress=[rule])


def test_without_policies_everything_is_open() -> None:
    assert allowed([], A, B, 1)
    assert allowed([], OUTSIDE, B, 1)
    assert not isolated([], B, "Ingress")


def test_default_deny_closes_both_ways_in_its_namespace_alone() -> None:
    deny = [policy(**DENY)]
    assert not allowed(deny, A, B, 1)
    assert not allowed(deny, OUTSIDE, B, 1)
    assert not allowed(deny, A, OUTSIDE, 1)
    assert allowed(deny, OTHER, OUTSIDE, 1)
    assert isolated(deny, A, "Egress")


def test_both_ends_must_allow() -> None:
    lets_in = ingress(**{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]})
    lets_out = policy(policyTypes=["Egress"], egress=[{"to": [{"podSelector": {"matchLabels": {"tier": "back"}}}]}])
    assert not allowed([policy(**DENY), lets_in], A, B, 1)
    assert not allowed([policy(**DENY), lets_out], A, B, 1)
    assert allowed([policy(**DENY), lets_in, lets_out], A, B, 1)
    assert not allowed([policy(**DENY), lets_in, lets_out], B, A, 1)


@pytest.mark.parametrize(
    "peer, lets_in",
    [
        ({"podSelector": {}}, {A}),
        ({"namespaceSelector": {}}, {A, OTHER}),
        ({"namespaceSelector": {"matchLabels": {"team": "red"}}}, {OTHER}),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}, {A}),
        ({"namespaceSelector": {"matchLabels": {"team": "red"}}, "podSelector": {"matchLabels": {"app": "z"}}}, set()),
        ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "z"]}]}}, {A}),
        ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}}, set()),
        ({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}}, {A}),
        ({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}}, set()),
        ({"ipBlock": {"cidr": "192.0.2.0/24"}}, {OUTSIDE}),
        ({"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.0/28"]}}, set()),
        ({"ipBlock": {"cidr": "0.0.0.0/0"}}, {A, OTHER, OUTSIDE}),
    ],
)
def test_peers(peer: dict[str, Any], lets_in: set[Pod | Host]) -> None:
    rules = [ingress(**{"from": [peer]})]
    everyone: list[Pod | Host] = [A, OTHER, OUTSIDE]
    assert [who for who in everyone if allowed(rules, who, B, 1)] == [who for who in everyone if who in lets_in]


@pytest.mark.parametrize(
    "ports, open_ports",
    [
        ([{"port": 80}], {80}),
        ([{"port": 80, "endPort": 82}], {80, 82}),
        ([{"port": 80, "protocol": "UDP"}], set()),
        ([{"protocol": "TCP"}], {80, 82, 50051}),
        ([{"port": "grpc"}], {50051}),
        ([{"port": "http"}], set()),
        (None, {80, 82, 50051}),
    ],
)
def test_ports(ports: list[dict[str, Any]] | None, open_ports: set[int]) -> None:
    rules = [ingress(ports=ports)]
    assert {port for port in (80, 82, 50051) if allowed(rules, A, B, port)} == open_ports


def test_a_policy_with_egress_rules_says_so_by_having_them() -> None:
    only_ingress = policy(ingress=[])
    assert allowed([only_ingress], B, OUTSIDE, 1)
    both = policy(egress=[{"to": [{"ipBlock": {"cidr": "198.51.100.0/24"}}]}])
    assert not allowed([both], B, OUTSIDE, 1)
    assert not allowed([both], OTHER, B, 1)
