"""What a valid calibration is."""

import copy
import math
import pickle

import pytest

from segdepth_protos import contract
from segdepth_protos.v1 import frame_pb2


def check(**fields):
    contract.check_calibration(frame_pb2.Calibration(sampling_angstrom_per_px=0.1, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"black_level": 0},
        {"black_level": -12.5},
        {"spherical_aberration_um": -13},
        {"modulation_transfer": [1, 0.6, 0.3]},
        {"modulation_transfer": [0.98, 1.2, 0]},
        {"modulation_transfer": [1] * 4096},
    ],
    ids=lambda fields: next(iter(fields), "nothing"),
)
def test_a_calibration(fields):
    check(**fields)


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"black_level": math.nan}, "black_level: nan is not a number"),
        ({"black_level": math.inf}, "black_level"),
        ({"spherical_aberration_um": math.nan}, "spherical_aberration_um"),
        ({"modulation_transfer": [1]}, "1 values; send 2 to 4096"),
        ({"modulation_transfer": [1] * 4097}, "4097 values"),
        ({"modulation_transfer": [1, 1.6]}, "1.6 is no transfer"),
        ({"modulation_transfer": [1, -0.1]}, "-0.1 is no transfer"),
        ({"modulation_transfer": [1, math.nan]}, "nan is no transfer"),
        ({"modulation_transfer": [100, 80, 60]}, "100 at zero frequency"),
        ({"modulation_transfer": [math.nan, 1]}, "nan at zero frequency"),
    ],
)
def test_what_is_none(fields, says):
    with pytest.raises(contract.InvalidFrame, match=says) as caught:
        check(**fields)
    assert caught.value.field == f"calibration.{next(iter(fields))}"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_its_error_crosses_processes(copied):
    twin = copied(contract.InvalidFrame("frame.data", "too short"))
    assert (str(twin), twin.field) == ("frame.data: too short", "frame.data")
