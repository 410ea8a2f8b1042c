"""Single calls: answers, typed errors, deadlines, TLS and tokens."""

import datetime as dt
import ipaddress

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import segdepth
from segdepth import errors

IMAGE = np.full((8, 8), 2, "u2")


@pytest.fixture
def client(server):
    with segdepth.connect(server.address) as client:
        yield client


class TestEstimate:
    def test_answer(self, client):
        calibration = segdepth.Calibration(0.1, counts_per_electron=4.0, beam_energy_kev=300)
        result = client.estimate(IMAGE, calibration)
        assert result.shape == (8, 8)
        assert result.calibration == calibration
        assert result.model == segdepth.ModelVersion("sum", "1", "ab" * 32, "numpy")
        assert result.domain.status is segdepth.Status.OK
        columns = result.columns
        assert (columns.x_px[0], columns.x_A[0]) == (128, pytest.approx(12.8))
        assert (columns.count[0], columns.lo90[0], columns.hi90[0]) == (5, 5, 6)
        assert columns.p_count[0] == 0.75
        assert columns.probabilities.shape == (1, 11)
        assert list(columns.species_names()) == ["Ce"]
        assert result.depth_map is None

    async def test_the_twin_gives_the_same(self, server, client):
        async with segdepth.connect_async(server.address) as twin:
            assert (await twin.estimate(IMAGE, 0.1)).message == client.estimate(IMAGE, 0.1).message

    def test_refused_and_strict(self, client):
        empty = np.zeros((8, 8), "u1")
        assert client.estimate(empty, 0.1).refused
        with pytest.raises(errors.OutsideDomain, match="every pixel is zero"):
            client.estimate(empty, 0.1, segdepth.Options(strict=True))

    @pytest.mark.parametrize(
        "image, field",
        [
            (np.zeros((0, 0), "u1"), "frame.height, frame.width"),
            (np.zeros((1, 9), "u1"), "frame.height, frame.width"),
            (np.zeros((4, 4), "c8"), "frame.dtype"),
            (np.zeros((2, 4, 4), "u1"), "frame"),
        ],
    )
    def test_what_is_no_frame(self, client, image, field):
        with pytest.raises(errors.InvalidFrame) as caught:
            client.estimate(image, 0.1)
        assert caught.value.field == field

    @pytest.mark.parametrize("sampling_A", [0, 1.0, 12, float("inf")])
    def test_no_sampling(self, client, sampling_A):
        with pytest.raises(errors.InvalidFrame) as caught:
            client.estimate(IMAGE, sampling_A)
        assert caught.value.field == "calibration.sampling_angstrom_per_px"

    def test_unknown_model(self, client):
        with pytest.raises(errors.UnknownModel, match="there is: sum"):
            client.estimate(IMAGE, 0.1, segdepth.Options(model="gold"))

    def test_deadline(self, client, plan):
        plan.delay_s = 5
        with pytest.raises(errors.TimedOut):
            client.estimate(IMAGE, 0.1, timeout_s=0.2)

    @pytest.mark.parametrize(
        "status, kind",
        [
            ("RESOURCE_EXHAUSTED", errors.Overloaded),
            ("UNAUTHENTICATED", errors.NotAuthenticated),
            ("PERMISSION_DENIED", errors.NotPermitted),
            ("FAILED_PRECONDITION", errors.OutsideDomain),
            ("INTERNAL", errors.ServerFault),
            ("CANCELLED", errors.Unavailable),
        ],
    )
    def test_status_to_error(self, client, plan, status, kind):
        plan.refuse_open = [grpc.StatusCode[status]]
        with pytest.raises(kind):
            client.estimate(IMAGE, 0.1)

    def test_retry_after(self, client, plan):
        plan.refuse_open = [grpc.StatusCode.RESOURCE_EXHAUSTED]
        with pytest.raises(errors.Overloaded) as caught:
            client.estimate(IMAGE, 0.1)
        assert caught.value.retry_after_s == 0.25

    def test_unavailable_is_tried_again(self, client, plan):
        plan.refuse_open = [grpc.StatusCode.UNAVAILABLE] * 2
        assert not client.estimate(IMAGE, 0.1).refused

    def test_nobody_there(self, server):
        server.kill()
        with segdepth.connect(server.address) as client, pytest.raises(errors.Unavailable, match=server.address):
            client.estimate(IMAGE, 0.1)
        server.start()


class TestModels:
    def test_list(self, client):
        first, second = client.models()
        assert (first.version.version, first.channels, first.serving) == ("1", ("stable",), True)
        assert first.sampling_range_A == (0.05, 0.25)
        assert first.created.year == 2023
        assert not second.serving
        assert first.shadow is None

    def test_the_candidates_shadow(self, client):
        shadow = client.models()[1].shadow
        assert (shadow.stable, shadow.replicas, shadow.frames, shadow.frames_dropped) == ("1", 2, 42, 11)
        assert (shadow.since, shadow.updated) == (None, None)
        low, unmeasured = shadow.doses
        assert (low.dose, low.columns, low.counts_differ, low.only_candidate) == ("100-316", 400, 20, 100)
        assert unmeasured.verdicts_differ == 1

    def test_unknown_family(self, client):
        with pytest.raises(errors.UnknownModel):
            client.models("gold")

    def test_promote_roll_back_and_history(self, client):
        with pytest.raises(errors.GateRefused, match="worse than stable"):
            client.promote("sum", "2", "try")
        change = client.promote("sum", "2", "urgent", force=True)
        assert (change.from_version, change.to_version, change.forced) == ("1", "2", True)
        assert client.rollback("sum", "worse").to_version == "1"
        assert client.history("sum")[0].principal == "operator"

    def test_a_race_is_a_conflict(self, client):
        with pytest.raises(errors.Conflict):
            client.promote("sum", "1", "race")

    def test_health(self, client):
        assert client.healthy()


class TestTlsAndTokens:
    @pytest.fixture
    def certificate(self, tmp_path):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
        now = dt.datetime.now(dt.UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(names, critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (tmp_path / "ca.pem").write_bytes(pem)
        return tmp_path / "ca.pem", grpc.ssl_server_credentials([(secret, pem)])

    def test_calls_and_streams_over_tls_carry_the_token(self, server, plan, certificate):
        ca, credentials = certificate
        server.kill()
        server.start(credentials)
        with segdepth.connect(server.address, token="secret", tls=segdepth.TLS(ca=ca)) as client:
            client.estimate(IMAGE, 0.1)
            list(client.stream([IMAGE], 0.1))
        assert [seen["authorization"] for seen in plan.metadata] == ["Bearer secret"] * 2

    def test_a_server_that_is_not_trusted(self, server, certificate):
        server.kill()
        server.start(certificate[1])
        with segdepth.connect(server.address, tls=True) as client, pytest.raises(errors.Unavailable):
            client.estimate(IMAGE, 0.1, timeout_s=3)

    def test_no_token_no_header(self, client, plan):
        client.estimate(IMAGE, 0.1)
        assert "authorization" not in plan.metadata[0]

    def test_the_environments_proxy_is_not_for_this_machine(self, server, plan, monkeypatch):
        monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
        monkeypatch.setenv("grpc_proxy", "http://192.0.2.1:3128")
        with segdepth.connect(server.address, token="secret") as client:
            client.estimate(IMAGE, 0.1, timeout_s=5)
