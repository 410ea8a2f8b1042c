"""What the chart's values take over from Kubernetes: quantities, resources, placement, network peers."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from tools.chart.settings import Values

Quantity = Annotated[
    str | int | float,
    Field(
        json_schema_extra={"pattern": r"^([0-9]+(\.[0-9]+)?)(m|k|Ki|M|Mi|G|Gi|T|Ti)?$", "minimum": 0},
        description="A quantity of Kubernetes: 500m, 2, 4Gi",
    ),
]
SecretName = Annotated[
    str, Field(pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$", max_length=253, description="Name of a Secret")
]
Port = Annotated[int, Field(ge=1, le=65535)]
Cidr = Annotated[
    str,
    Field(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$", description="A range of addresses, for example 10.20.0.0/16"),
]


class Part(Values):
    """A group of the chart's own values, in Kubernetes' camelCase."""

    model_config = ConfigDict(alias_generator=to_camel)


class Amounts(Part):
    """CPU, memory and local disk."""

    cpu: Quantity | None = None
    memory: Quantity | None = None
    ephemeral_storage: Quantity | None = Field(None, alias="ephemeral-storage")


class Resources(Part):
    """What a container asks for, and its limits."""

    requests: Amounts
    limits: Amounts


class Toleration(Part):
    """A taint that pods put up with."""

    key: str = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    toleration_seconds: int | None = None


class Placed(Part):
    """Which nodes pods may run on."""

    node_selector: dict[str, str] = Field({}, description="Labels that a node must have")
    tolerations: list[Toleration] = Field([], description="Taints that the pods put up with")


class Service(Part):
    """How other machines reach a component."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    port: Port
    node_port: int = Field(0, ge=0, le=65535, description="Of type NodePort: a fixed port; 0 = any")
    annotations: dict[str, str] = Field({}, description="Annotations of the Service")


class IpBlock(Part):
    """A range of addresses, without some."""

    cidr: Cidr
    except_: list[Cidr] = Field([], alias="except")


class Peer(Part):
    """Who may connect: addresses, or pods by their labels and their namespace's."""

    ip_block: IpBlock | None = None
    namespace_selector: dict[str, Any] | None = None
    pod_selector: dict[str, Any] | None = None
