"""Alerts and dashboard: their expressions parse and ask for metrics that there are; each alert has its page."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import promql_parser
import pytest

from tests.chart.helm import CHART, NAMESPACE
from tests.chart.manifests import embedded, of_kind, pods
from tests.chart.metrics import Metrics, known
from tests.chart.policy import Manifest, selector_matches
from tools.chart import dashboard

Render = Callable[[str], list[Manifest]]
RUNBOOK = CHART.parents[1] / "docs" / "runbook.md"
SEVERITIES = {"critical", "warning", "info"}


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return known()


@pytest.fixture(scope="module")
def alerts(render: Render) -> list[dict[str, Any]]:
    (rule,) = of_kind(render("monitored"), "PrometheusRule")
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


def selectors(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Metrics that an expression asks for, with the labels that it asks by."""
    pending: list[Any] = [promql_parser.parse(expression)]
    while pending:
        node = pending.pop()
        if isinstance(node, promql_parser.VectorSelector):
            yield node.name, {matcher.name: matcher.value for matcher in node.matchers.matchers}
        pending += getattr(node, "args", [])
        pending += [
            part
            for name in ("lhs", "rhs", "expr", "vector_selector")
            if (part := getattr(node, name, None)) is not None
        ]


def grouped_by(expression: str) -> set[str]:
    return {
        label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", expression) for label in labels.split(",") if label
    }


def assert_known(expression: str, metrics: Metrics) -> None:
    found = list(selectors(expression))
    assert found, expression
    for name, matchers in found:
        assert name in metrics, f"no metric {name}"
        assert matchers.keys() <= metrics[name], f"{name} has no label {matchers.keys() - metrics[name]}"
        assert "namespace" in matchers, f"{name} is asked for in all namespaces"
    assert grouped_by(expression) <= set().union(*(metrics[name] for name, _ in found)), expression


def test_the_list_of_metrics_is_of_the_code(metrics: Metrics) -> None:
    assert metrics["segdepth_gateway_frames_unanswered_total"] > {"reason"}
    assert metrics["segdepth_gateway_stage_seconds_bucket"] > {"stage", "le"}
    assert metrics["segdepth_api_requests_total"] > {"method", "route", "status"}
    assert metrics["ray_segdepth_frames_answered_total"] > {"status", "version"}
    assert "ray_segdepth_stage_ms_bucket" in metrics
    assert "segdepth_gateway_nonsense" not in metrics


def test_alerts_ask_for_metrics_that_there_are(alerts: list[dict[str, Any]], metrics: Metrics) -> None:
    assert len(alerts) >= 18
    for alert in alerts:
        assert_known(alert["expr"], metrics)


def test_values_of_labels_are_those_that_the_code_gives(alerts: list[dict[str, Any]]) -> None:
    from segdepth_core.prediction import Status
    from segdepth_gateway.metrics import PRIORITY_NAMES, REASON_NAMES

    allowed = {
        "segdepth_gateway_frames_unanswered_total": ("reason", set(REASON_NAMES.values())),
        "segdepth_gateway_queue_frames": ("priority", set(PRIORITY_NAMES.values())),
        "ray_segdepth_frames_answered_total": ("status", {status.name.lower() for status in Status}),
    }
    checked = set()
    for alert in alerts:
        for name, matchers in selectors(alert["expr"]):
            label, values = allowed.get(name, ("", set()))
            if label in matchers:
                assert set(matchers[label].split("|")) <= values, alert["alert"]
                checked.add(name)
    assert checked == allowed.keys()


def test_alerts_watch_this_release(alerts: list[dict[str, Any]]) -> None:
    assert "@" not in json.dumps(alerts)
    for alert in alerts:
        for _, matchers in selectors(alert["expr"]):
            assert matchers["namespace"] == NAMESPACE, alert["alert"]
            for label in ("job", "pod"):
                assert matchers.get(label, "rel-segdepth").startswith("rel-segdepth"), alert["alert"]


def test_alerts_watch_runs_and_no_batch_jobs(alerts: list[dict[str, Any]], render: Render) -> None:
    names = {
        matchers["name"]
        for alert in alerts
        for metric, matchers in selectors(alert["expr"])
        if metric == "kuberay_job_deployment_status"
    }
    made = {
        job["metadata"]["labels"]["app.kubernetes.io/component"]: job["metadata"]["name"].replace("{{id}}", "some-id")
        for job in embedded(render("monitored"))
    }
    assert names
    for pattern in names:
        assert re.fullmatch(pattern, made["training"])
        assert not re.fullmatch(pattern, made["batch"])


def test_alerts_watch_jobs_that_there_are(alerts: list[dict[str, Any]], render: Render) -> None:
    """Prometheus Operator names a job after its Service."""
    services = {service["metadata"]["name"] for service in of_kind(render("monitored"), "Service")}
    jobs = {matchers["job"] for alert in alerts for _, matchers in selectors(alert["expr"]) if "job" in matchers}
    assert jobs
    assert jobs <= services


def test_alerts_say_what_where_and_how_bad(alerts: list[dict[str, Any]]) -> None:
    names = [alert["alert"] for alert in alerts]
    assert len(names) == len(set(names))
    for alert in alerts:
        assert alert["alert"].startswith("SegDepth")
        assert alert["labels"]["severity"] in SEVERITIES
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["description"]
        assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{alert['alert'].lower()}"


def test_every_alert_has_its_section_in_the_runbook(alerts: list[dict[str, Any]]) -> None:
    text = RUNBOOK.read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert sections.keys() >= {alert["alert"] for alert in alerts}
    assert {name for name in sections if name.startswith("SegDepth")} == {alert["alert"] for alert in alerts}
    for alert in alerts:
        section = sections[alert["alert"]]
        for part in ("**Means.**", "**Look.**", "**Do.**"):
            assert part in section, f"{alert['alert']} has no {part}"
        assert "```sh" in section, f"{alert['alert']} has no command"


def test_the_runbooks_address_is_a_value(helm: Any) -> None:
    from tests.chart.conftest import OPEN, merged

    values = merged(OPEN, {"monitoring": {"prometheusRule": True, "runbook": "https://wiki.example/segdepth"}})
    rendered = helm.template(values)["segdepth/templates/monitoring/alerts.yaml"]
    assert "runbook_url: https://wiki.example/segdepth#segdepthnogateway" in rendered


def test_alerts_follow_what_the_release_has(render: Render, helm: Any) -> None:
    from tests.chart.conftest import OPEN, merged
    from tests.chart.manifests import documents

    def names(**values: Any) -> set[str]:
        rendered = helm.template(merged(merged(OPEN, {"monitoring": {"prometheusRule": True}}), values))
        (rule,) = documents(rendered["segdepth/templates/monitoring/alerts.yaml"])
        return {alert["alert"] for group in rule["spec"]["groups"] for alert in group["rules"]}

    everything = names()
    assert everything - names(training={"suspend": True}) == {"SegDepthTrainingStale"}
    assert "SegDepthTrainingFailed" not in names(training={"enabled": False})
    external = {**OPEN, "minio": {"enabled": False}}
    store = {
        "settings": {"endpoint": "https://s3.example"},
        "secrets": dict.fromkeys(("gateway", "inference", "training", "batch", "api", "seed"), "key"),
    }
    assert everything - names(**external, store=store) == {"SegDepthStoreDown", "SegDepthStoreFull"}


@pytest.mark.parametrize("name", ["monitored", "tls-tokens"])
def test_monitors_find_ports_of_services_and_pods(render: Render, name: str) -> None:
    manifests = render(name)
    for monitor in of_kind(manifests, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]
        ports = {
            port["name"]
            for service in of_kind(manifests, "Service")
            if selector_matches(selector, service["metadata"]["labels"])
            for port in service["spec"]["ports"]
        }
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports, monitor["metadata"]["name"]
    (ray,) = of_kind(manifests, "PodMonitor")
    found = {pod.component for pod in pods(manifests) if selector_matches(ray["spec"]["selector"], pod.labels)}
    assert found == {pod.component for pod in pods(manifests) if pod.ray}
    assert ray["spec"]["podMetricsEndpoints"][0]["port"] == "metrics"


def test_monitors_carry_the_operators_labels(render: Render) -> None:
    monitors = [
        manifest for manifest in render("tls-tokens") if manifest["apiVersion"].startswith("monitoring.coreos.com")
    ]
    assert len(monitors) == 5
    assert all(manifest["metadata"]["labels"]["release"] == "prometheus" for manifest in monitors)


def test_the_api_is_asked_over_tls_where_it_has_it(render: Render) -> None:
    def scheme(name: str) -> str | None:
        (api,) = (each for each in of_kind(render(name), "ServiceMonitor") if each["metadata"]["name"].endswith("-api"))
        value: str | None = api["spec"]["endpoints"][0].get("scheme")
        return value

    assert scheme("tls-tokens") == "https"
    assert scheme("monitored") is None


def test_the_dashboard_is_what_the_tool_makes() -> None:
    assert dashboard.FILE.read_text() == dashboard.text(), "run `make chart`"


def test_the_chart_ships_the_dashboard(render: Render) -> None:
    (shipped,) = (
        manifest for manifest in of_kind(render("monitored"), "ConfigMap") if "segdepth.json" in manifest["data"]
    )
    assert shipped["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(shipped["data"]["segdepth.json"]) == dashboard.dashboard()


def test_panels_ask_for_metrics_that_there_are(metrics: Metrics) -> None:
    panels = [panel for row in dashboard.ROWS.values() for panel in row]
    assert len(panels) > 20
    for panel in panels:
        for legend, expression in panel.queries.items():
            plain = expression.replace("$__rate_interval", "5m")
            assert_known(plain, metrics)
            labels = set(re.findall(r"{{(\w+)}}", legend))
            assert labels <= grouped_by(plain), f"{panel.title}: the legend names {labels}"


def test_panels_have_units_and_room() -> None:
    """Every axis says what it counts, and no two panels lie on each other."""
    made = dashboard.dashboard()["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in made:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells
        if panel["type"] == "timeseries":
            defaults = panel["fieldConfig"]["defaults"]
            assert defaults["unit"] == "none" or defaults["custom"]["axisLabel"], panel["title"]
