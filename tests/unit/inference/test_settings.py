"""How a replica is run, and how their number follows the load."""

import pytest
from pydantic import ValidationError

from segdepth_gateway.settings import GatewaySettings
from segdepth_inference.replica import autoscaling, deployment
from segdepth_inference.settings import InferenceSettings


def test_the_number_of_replicas_is_fixed_unless_a_most_is_set() -> None:
    assert autoscaling(InferenceSettings()) is None
    application = deployment(InferenceSettings(replicas=3))
    assert application._bound_deployment.num_replicas == 3


def test_with_a_most_it_follows_the_calls_under_way() -> None:
    settings = InferenceSettings(min_replicas=2, max_replicas=5, target_ongoing=1.5, upscale_delay_s=7)
    scaling = autoscaling(settings)
    assert scaling is not None
    assert (scaling.min_replicas, scaling.max_replicas, scaling.upscale_delay_s) == (2, 5, 7)
    assert scaling.target_ongoing_requests == 1.5
    bound = deployment(settings)._bound_deployment
    assert bound._deployment_config.autoscaling_config is not None


def test_a_busy_gateway_asks_for_more_replicas_at_any_number_of_them() -> None:
    """All replicas busy: `in_flight` calls at each, which is more than the target and no more than a replica takes."""
    inference, gateway = InferenceSettings(), GatewaySettings()
    assert inference.target_ongoing < gateway.in_flight <= inference.max_ongoing


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"min_replicas": 3, "max_replicas": 2}, "max_replicas 2 is less than min_replicas 3"),
        ({"target_ongoing": 8}, "must be less than max_ongoing 8"),
        ({"shadow_share": 1.5}, "shadow_share"),
        ({"max_replicas": 0}, "max_replicas"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        InferenceSettings.model_validate(changes)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGDEPTH_INFERENCE_SHADOW_SHARE", "0.05")
    monkeypatch.setenv("SEGDEPTH_INFERENCE_MAX_REPLICAS", "4")
    settings = InferenceSettings()
    assert (settings.shadow_share, settings.max_replicas) == (0.05, 4)
