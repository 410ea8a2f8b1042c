"""The chart's values, as models. values.yaml is their documentation; values.schema.json is made from here."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from segdepth_api.settings import ApiSettings
from segdepth_artefacts.settings import StoreSettings
from segdepth_batch.settings import BatchSettings
from segdepth_gateway.settings import GatewaySettings
from segdepth_inference.settings import InferenceSettings
from segdepth_training.machine.settings import TrainingSettings
from tools.chart.kubernetes import Cidr, Part, Peer, Placed, Port, Resources, SecretName, Service
from tools.chart.settings import operators_part

CHART_DECIDES = {
    GatewaySettings: {
        *("host", "port", "reuse_port", "bind_wait_s", "metrics_host", "metrics_port", "health_host", "health_port"),
        *("tls_cert", "tls_key", "tls_client_ca", "tokens", "insecure", "session_key", "previous_session_key"),
        *("store", "app", "estimator", "drain_s", "drain_file"),
    },
    InferenceSettings: {"store", "cache"},
    ApiSettings: {
        *("host", "port", "tls_cert", "tls_key", "insecure"),
        *("gateway", "gateway_tls", "gateway_ca", "gateway_cert", "gateway_key", "gateway_name"),
        *("batch_store", "batch_template", "batch_priority_classes", "batch_kubernetes", "batch_account"),
        # of jobs on the api's own machine
        *("batch_models", "batch_max_waiting"),
    },
    StoreSettings: {"url", "access_key", "secret_key"},
    TrainingSettings: {"recipe", "runs", "run_id"},
    BatchSettings: {"store", "models", "scratch", "cache", "actors_min", "actors_max", "nice", "object_store_mb"},
}
"""Fields that are no values: the chart knows them, or they are secrets."""

GatewayValues = operators_part(GatewaySettings, CHART_DECIDES[GatewaySettings])
InferenceValues = operators_part(InferenceSettings, CHART_DECIDES[InferenceSettings])
ApiValues = operators_part(ApiSettings, CHART_DECIDES[ApiSettings])
StoreValues = operators_part(StoreSettings, CHART_DECIDES[StoreSettings])
TrainingValues = operators_part(TrainingSettings, CHART_DECIDES[TrainingSettings])
BatchValues = operators_part(BatchSettings, CHART_DECIDES[BatchSettings])

Seconds = PositiveInt
Bytes = Annotated[int, Field(ge=80 * 1024 * 1024, description="Bytes; Ray asks for 80 MB at least")]


class Image(Part):
    """A repository and a tag; an empty tag is the chart's version."""

    repository: str = Field(min_length=1, pattern="^[a-z0-9][a-z0-9._/:-]*$")
    tag: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$",
        json_schema_extra={"not": {"const": "latest"}},
        description="A version, never `latest`",
    )


class Images(Part):
    """Where the images come from."""

    registry: str = Field("", pattern=r"^([A-Za-z0-9._:/-]+/)?$", description="Before our repositories; ends with /")
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    pull_secrets: list[SecretName] = Field([], description="Secrets that the registry asks for")
    serving: Image
    training: Image
    api: Image
    minio: Image
    mc: Image


class RayHead(Part):
    """The head of a serving cluster."""

    resources: Resources


class Autoscaler(Part):
    """Ray's autoscaler, a container of the head."""

    idle_timeout: Seconds = Field(description="A worker that nothing needs is removed after this long [s]")
    resources: Resources


class Ray(Part):
    """What the serving cluster has beside gateways and replicas."""

    head: RayHead
    autoscaler: Autoscaler
    old_cluster_lives: Seconds = Field(description="How long a replaced cluster lives on [s]")


class GatewayTls(Part):
    """The gateway's certificate."""

    secret_name: SecretName = ""
    client_certificates: bool = Field(description="Mutual TLS, with the authorities of ca.crt")


class FromSecret(Part):
    """A Secret that exists."""

    secret_name: SecretName = ""


class Gateway(Placed):
    """What stations talk to."""

    replicas: PositiveInt
    settings: GatewayValues  # type: ignore[valid-type]
    insecure: bool = Field(description="Listen without TLS and tokens")
    tls: GatewayTls
    tokens: FromSecret
    session: FromSecret
    drain: Seconds = Field(description="Time that a gateway has to answer what it accepted [s]")
    service: Service
    resources: Resources
    object_store_memory: Bytes


class Workers(Part):
    """The pods of a worker group, and what Ray counts in each."""

    min: int = Field(ge=0, description="Pods to keep")
    max: PositiveInt = Field(description="Pods at most")
    cpus: int = Field(ge=0, description="Ray CPUs of a pod")
    gpus: int = Field(ge=0, description="GPUs of a pod (nvidia.com/gpu)")


class Inference(Placed):
    """Replicas of the model."""

    settings: InferenceValues  # type: ignore[valid-type]
    workers: Workers
    resources: Resources
    object_store_memory: Bytes


class Api(Placed):
    """The HTTP api."""

    enabled: bool
    replicas: PositiveInt
    settings: ApiValues  # type: ignore[valid-type]
    insecure: bool = Field(description="Listen without TLS, behind an ingress that has it")
    tls: FromSecret
    service: Service
    resources: Resources


class Buckets(Part):
    """Buckets of the store."""

    models: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    training: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    batch: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")


class StoreSecrets(Part):
    """Secrets with access-key and secret-key, one for each component."""

    gateway: SecretName = ""
    inference: SecretName = ""
    training: SecretName = ""
    batch: SecretName = ""
    api: SecretName = ""
    seed: SecretName = ""


class Store(Part):
    """Where models, runs and batch jobs are."""

    settings: StoreValues  # type: ignore[valid-type]
    buckets: Buckets
    secrets: StoreSecrets
    seed: bool = Field(description="Bring the released model into an empty store")


class Persistence(Part):
    """A volume."""

    size: str = Field(pattern=r"^[0-9]+(Mi|Gi|Ti)$")
    storage_class: str = ""


class Minio(Placed):
    """MinIO of this release."""

    enabled: bool
    secret_name: SecretName = ""
    persistence: Persistence
    resources: Resources


class JobHead(Part):
    """The head of a job's cluster."""

    cpus: int = Field(ge=0, description="Ray CPUs of the head; 0 leaves the work to the workers")
    resources: Resources


class Submitter(Part):
    """The pod that submits a job to its cluster and waits for it."""

    resources: Resources


class Training(Placed):
    """Scheduled retraining."""

    enabled: bool
    schedule: str = Field(pattern=r"^(@(yearly|monthly|weekly|daily|hourly)|(\S+\s+){4}\S+)$")
    suspend: bool
    settings: TrainingValues  # type: ignore[valid-type]
    recipe: str = Field(min_length=1, description="A recipe of the image, or a recipe itself (TOML)")
    retries: int = Field(ge=0)
    deadline: Seconds
    head: JobHead
    workers: Workers
    resources: Resources
    submitter: Submitter


class Batch(Placed):
    """Batch jobs."""

    enabled: bool
    settings: BatchValues  # type: ignore[valid-type]
    admission_policy: bool
    retries: int = Field(ge=0)
    deadline: Seconds
    head: JobHead
    workers: Workers
    resources: Resources
    submitter: Submitter


class ApiServer(Part):
    """The cluster's API server."""

    cidr: Cidr
    ports: list[Port] = Field(min_length=1)


class ExternalStore(Part):
    """An S3 outside."""

    cidr: Cidr
    port: Port


class NetworkPolicy(Part):
    """Who reaches what."""

    enabled: bool
    stations: list[Peer]
    web: list[Peer]
    operator_namespace: str = Field(min_length=1)
    monitoring_namespace: str = Field(min_length=1)
    api_server: ApiServer
    external_store: ExternalStore


class Monitoring(Part):
    """For Prometheus Operator and Grafana."""

    service_monitor: bool
    prometheus_rule: bool
    dashboard: bool
    labels: dict[str, str] = Field({}, description="Labels that the operator selects by")
    runbook: str = Field(min_length=1, description="Address of docs/runbook.md, for the alerts' links")
    stale_days: PositiveInt


class Enabled(Part):
    """Something that there is or is not."""

    enabled: bool


class TestToken(Part):
    """A Secret with a token."""

    secret_name: SecretName = ""
    key: str = "token"


class Test(Part):
    """`helm test`."""

    token: TestToken
    resources: Resources


class ChartValues(Part):
    """Values of the chart segdepth."""

    images: Images
    ray_version: str = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$", description="The Ray of the images")
    ray: Ray
    gateway: Gateway
    inference: Inference
    api: Api
    store: Store
    minio: Minio
    training: Training
    batch: Batch
    network_policy: NetworkPolicy
    monitoring: Monitoring
    pod_disruption_budget: Enabled
    test: Test
