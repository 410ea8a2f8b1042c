"""Every gate of a promotion is a setting of the gateway."""

from segdepth_artefacts.promotion import PromotionGates
from segdepth_gateway.settings import GatewaySettings


def test_each_gate_is_a_setting_with_the_same_default_and_bounds() -> None:
    assert GatewaySettings().gates == PromotionGates()
    for name, gate in PromotionGates.model_fields.items():
        field = GatewaySettings.model_fields[f"gate_{name}"]
        assert (field.default, str(field.metadata)) == (gate.default, str(gate.metadata))


def test_gates_are_made_of_settings() -> None:
    settings = GatewaySettings(gate_max_ece=0.1, gate_min_shadow_frames=500)
    assert (settings.gates.max_ece, settings.gates.min_shadow_frames) == (0.1, 500)
