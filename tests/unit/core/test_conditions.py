"""Conditions that a frame tells: their numbers, and what is said of those that a model does not assume."""

import pytest
import torch

from segdepth_artefacts.manifest import Known
from segdepth_core.conditions import checks, measured
from segdepth_core.prediction import Status
from segdepth_core.second_stage import SCALES, table
from segdepth_core.second_stage import SecondStage as Network
from segdepth_protos.conditions import Conditions, Measured
from tests.unit.core.test_cell import CERIA
from tests.unit.core.test_second_stage import evidence

TAKEN = Conditions(contrast=Measured(0.52, 0.1), vibration_A=Measured(0.48, 0.03), defocus_A=Measured(44.0, 6.0))


def test_values_and_errors_are_in_the_units_of_the_conditions():
    network = Network(2, len(CERIA.sites), width=16, blocks=1, hidden=24, told=6, context=8).eval()
    with torch.no_grad():
        for weight in network.conditions[-1].parameters():
            weight.zero_()
        network.conditions[-1].bias.copy_(torch.tensor([1.0, -2.0, 0.5, -1.0, -1.0, -9.0]))
        seen = network.gathered(table([evidence(1)]))
        found = measured(network, seen, dict.fromkeys(SCALES, 2.0))
        assert measured(network, seen, {}) is None
    assert found is not None
    assert found.contrast.value == pytest.approx(1.0)
    assert found.contrast.error == pytest.approx(2 * 0.25 * 0.3679, rel=1e-3)
    assert found.vibration_A.value == 0, "a blur is never negative"
    assert found.defocus_A.value == pytest.approx(65)
    assert found.defocus_A.error == pytest.approx(2 * 30 * 0.0183, rel=1e-2), "the least that is ever stated"


def test_what_the_model_does_not_assume_makes_a_frame_suspect_and_is_named():
    asked = checks(TAKEN, Known(contrast=(0.9, 1.05), vibration_A=(0.0, 0.25), defocus_A=(10.0, 30.0)))
    assert [check.status for check in asked] == [Status.SUSPECT, Status.SUSPECT, Status.OK]
    vibration = asked[1]
    assert (vibration.name, vibration.value, vibration.unit) == ("vibration", 0.48, "Å")
    assert vibration.ok_upper == pytest.approx(0.34)
    assert "0.48 ± 0.03 Å where the model assumes 0 to 0.25" in vibration.message


def test_a_model_that_assumes_nothing_asks_nothing():
    assert checks(TAKEN, Known()) == []
    assert checks(None, Known(contrast=(0.9, 1.0))) == []
