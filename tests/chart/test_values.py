"""The values: their schema is the models', values.yaml agrees with it, and wrong ones are refused by name."""

import json
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_settings import BaseSettings

from tests.chart.conftest import CI, OPEN, SITES, merged, values_of
from tests.chart.helm import CHART, Helm, HelmError
from tools.chart import schema
from tools.chart.settings import operators_part
from tools.chart.values import CHART_DECIDES, ChartValues

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def test_the_schema_is_what_the_models_say() -> None:
    assert schema.FILE.read_text() == schema.text(), "run `make chart`"


def test_the_schema_is_closed() -> None:
    """Every group of values refuses a name that it does not know."""
    made = schema.schema()
    groups = [made, *made["definitions"].values()]
    assert len(groups) > 20
    assert all(group["additionalProperties"] is False for group in groups)


def test_the_schema_keeps_bounds_defaults_and_words() -> None:
    gateway = schema.schema()["definitions"]["GatewaySettingsValues"]["properties"]
    assert gateway["in_flight"] == {
        "default": 3,
        "description": "micro-batches under way for each replica; all but one are full",
        "exclusiveMinimum": 0,
        "type": "integer",
    }


def test_values_yaml_says_all_that_there_is_and_no_more() -> None:
    """It reads like documentation: every value of the models stands in it, with the very default that holds."""
    ChartValues.model_validate(VALUES)
    assert _missing(ChartValues, VALUES, "") == []


def _missing(model: type[BaseModel], values: dict[str, Any], path: str) -> list[str]:
    """Values that the model has and values.yaml does not show, or whose default differs. Settings are left out."""
    wrong = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        if key == "settings" or path.endswith((".requests", ".limits")):
            continue
        here = f"{path}.{key}"
        if key not in values:
            wrong.append(f"{here} is not shown")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            wrong += _missing(field.annotation, values[key], here)
        elif not field.is_required() and values[key] != field.default and key not in ("port", "tag"):
            wrong.append(f"{here} is {values[key]!r}, the model's default is {field.default!r}")
    return wrong


@pytest.mark.parametrize("component", ["gateway", "inference", "api", "store", "training", "batch"])
def test_settings_in_values_yaml_are_the_models_defaults(component: str) -> None:
    fields = ChartValues.model_fields[component].annotation
    assert fields is not None
    settings = fields.model_fields["settings"].annotation  # type: ignore[attr-defined]
    for name, value in VALUES[component]["settings"].items():
        assert settings.model_fields[name].default == value, f"{component}.settings.{name}"


@pytest.mark.parametrize("settings", CHART_DECIDES, ids=lambda settings: settings.__name__)
def test_what_the_chart_decides_is_a_field(settings: type[BaseSettings]) -> None:
    operators_part(settings, CHART_DECIDES[settings])
    with pytest.raises(ValueError, match="has no nonsense"):
        operators_part(settings, {"nonsense"})


def test_secrets_are_no_values() -> None:
    """No setting that pydantic keeps secret can be given."""
    for name, group in schema.schema()["definitions"].items():
        for key, value in group.get("properties", {}).items():
            assert "password" not in json.dumps(value.get("format", "")), f"{name}.{key}"
            assert value.get("writeOnly") is not True, f"{name}.{key}"


@pytest.mark.parametrize("name", CI | SITES)
def test_example_values_are_valid(name: str) -> None:
    ChartValues.model_validate(merged(VALUES, values_of(name)))


WRONG = [
    ("gatway: {}", "gatway"),
    ("gateway: {replica: 3}", "replica"),
    ("gateway: {replicas: 0}", "/gateway/replicas"),
    ("gateway: {replicas: two}", "/gateway/replicas"),
    ("gateway: {settings: {credit_frames: 0}}", "/gateway/settings/credit_frames"),
    ("gateway: {settings: {credit_frames: many}}", "/gateway/settings/credit_frames"),
    ("gateway: {settings: {creditFrames: 9}}", "creditFrames"),
    ("gateway: {settings: {host: 127.0.0.1}}", "host"),
    ("gateway: {settings: {tls_cert: /tls.crt}}", "tls_cert"),
    ("gateway: {settings: {session_key: sessionsessionsessionsessionsession}}", "session_key"),
    ("gateway: {settings: {insecure: true}}", "insecure"),
    ("gateway: {insecure: 'yes'}", "/gateway/insecure"),
    ("gateway: {tls: {secretName: Not_A_Name}}", "/gateway/tls/secretName"),
    ("gateway: {service: {type: Ingress}}", "/gateway/service/type"),
    ("gateway: {service: {port: 70000}}", "/gateway/service/port"),
    ("gateway: {objectStoreMemory: 1000}", "/gateway/objectStoreMemory"),
    ("gateway: {resources: {requests: {cpu: 1 core}}}", "/gateway/resources/requests/cpu"),
    ("gateway: {resources: {requests: {memory: 4GB}}}", "/gateway/resources/requests/memory"),
    ("gateway: {resources: {limit: {memory: 4Gi}}}", "limit"),
    ("gateway: {tolerations: [{key: a, operator: Exist}]}", "/gateway/tolerations/0/operator"),
    ("inference: {settings: {store: 's3://elsewhere'}}", "store"),
    ("inference: {settings: {shadow_share: 1.5}}", "/inference/settings/shadow_share"),
    ("inference: {settings: {max_replicas: 0}}", "/inference/settings/max_replicas"),
    ("inference: {workers: {min: -1}}", "/inference/workers/min"),
    ("inference: {workers: {gpu: 1}}", "gpu"),
    ("api: {settings: {gateway: 'elsewhere:50051'}}", "gateway"),
    ("gateway: {settings: {health_port: 1}}", "health_port"),
    ("api: {settings: {batch_template: /tmp/mine.yaml}}", "batch_template"),
    ("api: {settings: {batch_prefixes: 's3://raw/'}}", "/api/settings/batch_prefixes"),
    ("training: {settings: {run_id: mine}}", "run_id"),
    ("training: {settings: {gates: {max_ece: 2}}}", "/training/settings/gates/max_ece"),
    ("api: {settings: {max_waiting: -1}}", "/api/settings/max_waiting"),
    ("store: {settings: {secret_key: hunter2}}", "secret_key"),
    ("store: {settings: {url: 's3://x'}}", "url"),
    ("store: {settings: {attempts: 0}}", "/store/settings/attempts"),
    ("store: {buckets: {models: Not_A_Bucket}}", "/store/buckets/models"),
    ("store: {secrets: {gatway: x}}", "gatway"),
    ("minio: {persistence: {size: big}}", "/minio/persistence/size"),
    ("minio: {rootPassword: hunter2}", "rootPassword"),
    ("training: {schedule: every Sunday}", "/training/schedule"),
    ("training: {recipe: ''}", "/training/recipe"),
    ("training: {workers: {max: 0}}", "/training/workers/max"),
    ("batch: {retries: -1}", "/batch/retries"),
    ("batch: {settings: {chunk_frames: 0}}", "/batch/settings/chunk_frames"),
    ("networkPolicy: {stations: [{ipBlock: {cidr: everywhere}}]}", "/networkPolicy/stations/0/ipBlock/cidr"),
    ("networkPolicy: {stations: [10.0.0.0/8]}", "/networkPolicy/stations/0"),
    ("networkPolicy: {apiServer: {ports: []}}", "/networkPolicy/apiServer/ports"),
    ("monitoring: {dashboard: 'yes'}", "/monitoring/dashboard"),
    ("images: {api: {tag: latest}}", "/images/api/tag"),
    ("images: {pullPolicy: Sometimes}", "/images/pullPolicy"),
    ("images: {registry: registry.example/em}", "/images/registry"),
    ("rayVersion: nightly", "/rayVersion"),
    ("podDisruptionBudget: false", "/podDisruptionBudget"),
    ("test: {token: {value: sd_x}}", "value"),
]


@pytest.mark.parametrize("wrong, name", WRONG, ids=[wrong for wrong, _ in WRONG])
def test_a_wrong_value_is_refused_by_name(helm: Helm, wrong: str, name: str) -> None:
    values = merged(OPEN, yaml.safe_load(wrong))
    with pytest.raises(HelmError) as refused:
        helm.template(values)
    assert name in str(refused.value)
    assert any(name in message for message in helm.lint(values))
