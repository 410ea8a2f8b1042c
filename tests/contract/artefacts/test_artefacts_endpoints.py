"""Endpoints that are down, silent, careless or closed, and answers that are lost."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock

import pytest

from segdepth_artefacts import ArtefactStore, StoreSettings, errors, open_store
from tests.contract.artefacts.endpoints import careless, line_to, silent
from tests.contract.artefacts.places import FAMILY, Bucket, make_version
from tests.s3 import BUCKETS, S3Server, free_ports


@pytest.fixture(params=BUCKETS)
def bucket(request: pytest.FixtureRequest) -> Bucket:
    server = request.getfixturevalue(request.param)
    return Bucket(f"s3://{server.new_bucket()}", server.settings(), server)


def anonymous(endpoint: str, **changed: object) -> ArtefactStore:
    settings = {"endpoint": f"http://{endpoint}", "timeout_s": 0.3, **changed}
    return open_store("s3://bucket", StoreSettings.model_validate(settings))


@pytest.mark.parametrize(
    "behaviour, said",
    [
        ({"honours_create": False}, "ignores If-None-Match"),
        ({"honours_swap": False}, "ignores If-Match"),
        ({"honours_create": False, "honours_swap": False}, "ignores If-None-Match"),
        ({"never_swaps": True}, "refuses a write with the right If-Match"),
    ],
)
def test_an_endpoint_that_ignores_conditions_is_refused_for_writing(
    tmp_path: Path, behaviour: dict[str, bool], said: str
) -> None:
    version = make_version(tmp_path)
    with careless(**behaviour) as server:
        endpoint = f"127.0.0.1:{server.server_port}"
        with pytest.raises(errors.UnsafeEndpoint, match=said):
            anonymous(endpoint).register(version.manifest, version.files)
        with pytest.raises(errors.UnsafeEndpoint, match=said):
            open_store("s3://bucket", StoreSettings(endpoint=f"http://{endpoint}"), writable=True)
        assert server.objects == {}

        key = f"/bucket/models/{FAMILY}/1.0/manifest.json"
        server.objects[key] = version.manifest.model_dump_json().encode()
        assert anonymous(endpoint).manifest(FAMILY, "1.0") == version.manifest, "reading is safe"
        with pytest.raises(errors.UnsafeEndpoint, match=said):
            anonymous(endpoint).point(FAMILY, "stable", "1.0", principal="me", reason="", expected=None)
        assert list(server.objects) == [key]


def test_an_endpoint_that_honours_conditions_passes_the_same_probe() -> None:
    with careless() as server:
        anonymous(f"127.0.0.1:{server.server_port}").check_writable()
        assert server.objects == {}


CALLS: list[Callable[[ArtefactStore, Path], object]] = [
    lambda store, _: store.families(),
    lambda store, _: store.versions(FAMILY),
    lambda store, _: store.manifest(FAMILY, "1.0"),
    lambda store, _: store.channel(FAMILY, "stable"),
    lambda store, _: store.check_writable(),
    lambda store, folder: store.fetch(FAMILY, "1.0", folder / "cache"),
    lambda store, folder: store.point(FAMILY, "stable", "1.0", principal="me", reason="", expected=None),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_down_is_unavailable_soon(
    call: Callable[[ArtefactStore, Path], object], tmp_path: Path
) -> None:
    store = anonymous(f"127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(errors.StoreUnavailable, match="does not answer"):
        call(store, tmp_path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_silent_is_unavailable_soon(
    call: Callable[[ArtefactStore, Path], object], tmp_path: Path
) -> None:
    with silent() as endpoint, pytest.raises(errors.StoreUnavailable, match="does not answer"):
        call(anonymous(endpoint), tmp_path)


def test_something_that_is_no_s3_is_unavailable() -> None:
    with careless() as server:
        server.objects["/bucket"] = b"<html>Welcome</html>"
        with pytest.raises(errors.StoreUnavailable, match="does not answer"):
            anonymous(f"127.0.0.1:{server.server_port}").families()


def test_wrong_keys_and_missing_buckets_are_refused_not_retried(bucket: Bucket) -> None:
    wrong = bucket.server.settings(secret_key="not the secret")
    for store in (open_store(bucket.url, wrong), open_store("s3://no-such-bucket", bucket.settings)):
        with pytest.raises(errors.StoreRefused, match=r"secret key|create the bucket"):
            store.channel(FAMILY, "stable")
        with pytest.raises(errors.StoreRefused, match=r"secret key|create the bucket"):
            store.check_writable()


def test_an_answer_lost_on_the_way_does_not_lose_the_change(bucket: Bucket, tmp_path: Path) -> None:
    """The first write of the channel arrives, its answer does not: the writer finds its own change and goes on."""
    version = make_version(tmp_path)
    bucket.open().register(version.manifest, version.files)
    lost: list[bytes] = []
    lock = Lock()

    def lose_first(request: bytes) -> bool:
        with lock:
            if request.startswith(b"PUT") and b"/channels/" in request.partition(b"\r\n")[0] and not lost:
                lost.append(request)
                return True
        return False

    with line_to(bucket.server.endpoint, lose_answers=lose_first) as endpoint:
        store = open_store(bucket.url, bucket.server.settings(endpoint=endpoint))
        channel = store.point(FAMILY, "stable", "1.0", principal="me", reason="once", expected=None)
        again = store.point(FAMILY, "stable", "1.0", principal="me", reason="again", expected=channel)

    assert len(lost) == 1
    assert bucket.open().channel(FAMILY, "stable") == again
    assert [change.reason for change in again.history] == ["again", "once"]


def test_a_bucket_holds_several_stores_apart(seaweed: S3Server, tmp_path: Path) -> None:
    name, settings = seaweed.new_bucket(), seaweed.settings()
    version = make_version(tmp_path)
    open_store(f"s3://{name}/one", settings).register(version.manifest, version.files)

    assert open_store(f"s3://{name}/one/", settings).families() == [FAMILY]
    assert open_store(f"s3://{name}/two", settings).families() == []
    assert open_store(f"s3://{name}", settings).families() == []
