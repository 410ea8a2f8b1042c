"""The Serve application of a Kubernetes cluster: `segdepth_stack.cluster:application`, which a RayService imports.

What listens, and with which secrets, each pod's own environment says (SEGDEPTH_GATEWAY_*, SEGDEPTH_STORE_*): secrets
go nowhere but into the pods that need them.
"""

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict
from ray import serve

from segdepth_gateway.deployment import cluster_deployment
from segdepth_inference import replica
from segdepth_inference.settings import InferenceSettings


class ClusterSettings(BaseSettings):
    """What of the application the cluster's operator decides, from SEGDEPTH_CLUSTER_* variables."""

    model_config = SettingsConfigDict(env_prefix="SEGDEPTH_CLUSTER_", extra="forbid", frozen=True)

    gateways: PositiveInt = Field(1, description="Gateways, one in each pod of the group `gateway`")
    drain_s: PositiveFloat = Field(30, description="Time that a gateway has to answer what it accepted [s]")


def application(_: dict[str, str] | None = None) -> serve.Application:
    """Gateways in front of the replicas of the model. The argument is Serve's `args`, of which there are none."""
    settings = ClusterSettings()
    return cluster_deployment(replica.deployment(InferenceSettings()), settings.gateways, settings.drain_s)
