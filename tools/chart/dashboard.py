"""Write helm/segdepth/dashboards/segdepth.json: the Grafana dashboard, a line a panel.

python -m tools.chart.dashboard
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "helm" / "segdepth" / "dashboards" / "segdepth.json"
HERE = 'namespace="$namespace"'
COLUMNS, HEIGHT = 24, 8
SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Panel:
    """A graph, or with `stat` a number: its title, unit, and expressions by legend."""

    title: str
    unit: str
    queries: dict[str, str]
    stat: bool = False
    width: int = 8


def rate(metric: str, by: str = "", **labels: str) -> str:
    """Increase a second of a counter of this namespace, summed."""
    chosen = "".join(f', {name}="{value}"' for name, value in labels.items())
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{HERE}{chosen}}}[$__rate_interval]))"


def quantile(q: float, metric: str, by: str, **labels: str) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', f'le, {by}', **labels)})"


FRAMES, CALLS = "suffix: frames/s", "suffix: calls/s"
ROWS: dict[str, list[Panel]] = {
    "Service": [
        Panel("Gateways with a model", "none", {"": f"sum(segdepth_gateway_ready{{{HERE}}})"}, stat=True, width=4),
        Panel("Replicas", "none", {"": f"max(segdepth_gateway_replicas{{{HERE}}})"}, stat=True, width=4),
        Panel("Open streams", "none", {"": f"sum(segdepth_gateway_streams{{{HERE}}})"}, stat=True, width=4),
        Panel(
            "Model",
            "none",
            {"{{family}} {{version}}": f"count by (family, version) (segdepth_gateway_model_info{{{HERE}}})"},
            stat=True,
            width=12,
        ),
        Panel("Frames answered", FRAMES, {"{{call}}": rate("segdepth_gateway_frames_answered_total", "call")}),
        Panel("Frames unanswered", FRAMES, {"{{reason}}": rate("segdepth_gateway_frames_unanswered_total", "reason")}),
        Panel(
            "Frames that wait", "none", {"{{priority}}": f"sum by (priority) (segdepth_gateway_queue_frames{{{HERE}}})"}
        ),
        Panel("Time in a stage, median", "s", {"{{stage}}": quantile(0.5, "segdepth_gateway_stage_seconds", "stage")}),
        Panel("Time in a stage, 95 %", "s", {"{{stage}}": quantile(0.95, "segdepth_gateway_stage_seconds", "stage")}),
        Panel(
            "Frames of a micro-batch, mean",
            "none",
            {"frames": rate("segdepth_gateway_batch_frames_sum") + " / " + rate("segdepth_gateway_batch_frames_count")},
        ),
        Panel("Bytes granted to callers", "bytes", {"granted": f"sum(segdepth_gateway_granted_bytes{{{HERE}}})"}),
        Panel("Micro-batches sent again", CALLS, {"lost": rate("segdepth_gateway_batch_retries_total")}),
        Panel("Calls rejected", CALLS, {"{{code}}": rate("segdepth_gateway_calls_rejected_total", "code")}),
    ],
    "Model": [
        Panel("Verdicts", FRAMES, {"{{status}}": rate("ray_segdepth_frames_answered_total", "status")}),
        Panel("By version", FRAMES, {"{{version}}": rate("ray_segdepth_frames_answered_total", "version")}),
        Panel("Time of a batch, 95 %", "ms", {"{{stage}}": quantile(0.95, "ray_segdepth_stage_ms", "stage")}),
        Panel(
            "Candidate: frames in the shadow",
            FRAMES,
            {
                "compared": rate("ray_segdepth_shadow_frames_total"),
                "dropped": rate("ray_segdepth_shadow_frames_dropped_total"),
            },
        ),
        Panel(
            "Candidate: counts that differ, both sure",
            "percentunit",
            {
                "{{dose}} e/Å²": rate("ray_segdepth_shadow_confident_differ_total", "dose")
                + " / "
                + rate("ray_segdepth_shadow_confident_columns_total", "dose")
            },
        ),
        Panel("Candidate waits", "s", {"waits": f"max(ray_segdepth_candidate_waiting_s{{{HERE}}})"}),
    ],
    "Api": [
        Panel("Requests", CALLS, {"{{status}}": rate("segdepth_api_requests_total", "status")}),
        Panel("Time of a request, 95 %", "s", {"{{route}}": quantile(0.95, "segdepth_api_request_seconds", "route")}),
        Panel("Turned away", CALLS, {"no room": rate("segdepth_api_requests_turned_away_total")}),
    ],
    "Machines": [
        Panel("CPU of Ray's pods", "percent", {"{{pod}}": f"max by (pod) (ray_node_cpu_utilization{{{HERE}}})"}),
        Panel("Memory of Ray's pods", "bytes", {"{{pod}}": f"max by (pod) (ray_node_mem_used{{{HERE}}})"}),
        Panel("GPU of Ray's pods", "percent", {"{{pod}}": f"max by (pod) (ray_node_gpus_utilization{{{HERE}}})"}),
        Panel(
            "Jobs",
            "none",
            {"{{deployment_status}}": f"count by (deployment_status) (kuberay_job_deployment_status{{{HERE}}} == 1)"},
        ),
        Panel(
            "MinIO: space free",
            "percentunit",
            {
                "free": f"max(minio_cluster_capacity_usable_free_bytes{{{HERE}}})"
                f" / max(minio_cluster_capacity_usable_total_bytes{{{HERE}}})"
            },
        ),
        Panel(
            "Restarts in an hour",
            "none",
            {
                "{{pod}}": "sum by (pod) (increase("
                f'kube_pod_container_status_restarts_total{{{HERE}, pod=~".*segdepth.*"}}[1h])) > 0'
            },
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """What Grafana reads."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}, "panels": []})
        y, x, height = y + 1, 0, 0
        for panel in row:
            if x + panel.width > COLUMNS:
                y, x = y + height, 0
            height = HEIGHT // 2 if panel.stat else HEIGHT
            panels.append(_panel(panel, {"x": x, "y": y, "w": panel.width, "h": height}))
            x += panel.width
        y += height
    for number, each in enumerate(panels, 1):
        each["id"] = number
    return {
        "uid": "segdepth",
        "title": "SegDepth",
        "tags": ["segdepth"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source(), _namespace()]},
        "panels": panels,
    }


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend or "__auto", "datasource": SOURCE}
        for number, (legend, expression) in enumerate(panel.queries.items())
    ]
    custom = {} if panel.stat else {"axisLabel": panel.unit.removeprefix("suffix: ").replace("none", "")}
    made: dict[str, Any] = {
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "targets": targets,
    }
    if panel.stat and "" not in panel.queries:
        made["options"] = {"textMode": "name"}
    return made


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _namespace() -> dict[str, Any]:
    query = "label_values(segdepth_gateway_ready, namespace)"
    return {
        "name": "namespace",
        "label": "Namespace",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "namespace"},
        "refresh": 2,
    }


def text() -> str:
    """What the file holds."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
