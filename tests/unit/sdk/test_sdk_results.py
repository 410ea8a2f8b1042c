"""Results as values: they say what they are in a line, and are the same after a pickle or a copy."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import grpc
import numpy as np
import pytest

import segdepth
from segdepth import Gap, GapReason, errors
from segdepth.results import FrameResult
from segdepth_protos import contract
from tests.answers import result
from tests.tracked import tracked

COPIES = [lambda value: pickle.loads(pickle.dumps(value)), copy.deepcopy, copy.copy]


@pytest.fixture(params=COPIES, ids=["pickle", "deepcopy", "copy"])
def twin(request):
    return request.param


class TestCopies:
    def test_of_a_result(self, twin):
        one = result(3)
        assert one.columns.count[0] == 5  # looked at before
        other = twin(one)
        assert other.message == one.message
        assert other.domain == one.domain
        np.testing.assert_array_equal(other.columns.x_A, one.columns.x_A)
        np.testing.assert_array_equal(other.depth_map, one.depth_map)

    def test_of_its_parts(self, twin):
        one = result(3)
        columns = twin(one.columns)
        assert columns.sampling_A == one.columns.sampling_A
        np.testing.assert_array_equal(columns.probabilities, one.columns.probabilities)
        assert twin(one.domain).why() == one.domain.why()
        for part in (one.model, one.calibration, one.timings, one.conditions, one.domain.status):
            assert twin(part) == part

    def test_of_a_gap(self, twin):
        gap = Gap(3, 9, GapReason.DROPPED, "late")
        assert twin(gap) == gap

    def test_of_a_tracked_frame(self, twin):
        one = tracked(3)
        other = twin(one)
        assert (other.sequence, other.state, other.drift_A, other.model) == (3, one.state, one.drift_A, one.model)
        np.testing.assert_array_equal(other.columns.probabilities, one.columns.probabilities)

    def test_of_a_table(self, twin):
        table = segdepth.table([result(0), Gap(1, 2, GapReason.LOST)])
        other = twin(table)
        assert other.gaps == table.gaps
        np.testing.assert_array_equal(other["x_A"], table["x_A"])

    @pytest.mark.parametrize(
        "error",
        [
            errors.InvalidFrame("frame.data: too short", "frame.data"),
            errors.InvalidType("options: a dict is not an Options", "options"),
            segdepth.NoLattice("too few", "sampling"),
            errors.Overloaded("full", 0.25),
            errors.Unavailable("nobody there", retry_after_s=2.0),
            errors.CannotWrite(28, "out: no space left"),
            errors.TimedOut("no answer"),
            errors.UnknownModel("there is: sum"),
            errors.from_status(grpc.StatusCode.INVALID_ARGUMENT, "frame.data: too short"),
            errors.from_contract(contract.InvalidFrame("frame.data", "too short")),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_of_an_error(self, twin, error):
        other = twin(error)
        assert (type(other), str(other), other.args) == (type(error), str(error), error.args)
        assert vars(other) == vars(error)

    def test_a_port_where_nobody_listens_says_the_way_out(self):
        told = errors.from_status(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses")
        assert isinstance(told, errors.Unavailable)
        assert "check address and port" in str(told)
        assert "check" not in str(errors.from_status(grpc.StatusCode.UNAVAILABLE, "no replica yet"))

    def test_of_a_client_there_is_none(self, twin):
        with (
            segdepth.connect("127.0.0.1:1") as client,
            pytest.raises(errors.InvalidType, match="connect there"),
        ):
            twin(client)


def work(sequence: int) -> FrameResult:
    return result(sequence)


def test_a_worker_process_hands_results_over():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as workers:
        answer = workers.submit(work, 7).result(60)
    assert (answer.sequence, len(answer.columns)) == (7, 3)


class TestRepr:
    def test_of_a_result(self):
        assert repr(result(3)) == (
            "FrameResult(sequence=3, status='ok', columns=3, shape=(30, 40), sampling_A=0.123,"
            " model='f 7 (torch-fp32)')"
        )

    def test_of_columns(self):
        assert repr(result().columns) == "Columns(size=3, Ce=2, O=1, count='5-5', abstained=1, sampling_A=0.123)"
        assert repr(result(refused=True).columns) == "Columns(size=0, Ce=0, O=0, sampling_A=0.123)"

    def test_of_columns_in_a_notebook(self):
        assert "<td>Ce</td>" in result().columns._repr_html_()

    def test_of_a_table_in_a_notebook(self):
        many = segdepth.table([result(sequence) for sequence in range(100)])._repr_html_()
        assert "rows=300" in many
        assert many.count("<tr") < 20

    def test_of_a_verdict(self):
        assert repr(result().domain) == "DomainVerdict(status='ok', checks=1)"
        assert repr(result(refused=True).domain) == "DomainVerdict(status='refused', checks=1, why='snr')"
        assert repr(result().domain.checks[0]) == "Check('snr', status='ok', value=3.5, lower=1.5, unit='dB')"

    def test_of_a_model(self):
        assert repr(result().model) == (
            "ModelVersion(family='f', version='7', sha256='cdcdcdcd…', engine='torch-fp32')"
        )

    def test_of_a_calibration(self):
        assert repr(result().calibration) == "Calibration(sampling_A=0.123)"
        sharp = segdepth.Calibration(0.1, black_level=0.0, modulation_transfer=(1.0,) * 64)
        assert repr(sharp) == "Calibration(sampling_A=0.1, black_level=0.0, modulation_transfer='64 values')"

    def test_of_a_gap(self):
        assert repr(Gap(2, 3, GapReason.DROPPED)) == "Gap(first=2, last=3, reason='dropped')"
        assert repr(Gap(2, 3, GapReason.INVALID, "why")) == "Gap(first=2, last=3, reason='invalid', detail='why')"


def test_each_kind_of_answer_has_a_sequence_number():
    assert [answer.sequence for answer in (result(3), Gap(4, 9, GapReason.LOST))] == [3, 4]
