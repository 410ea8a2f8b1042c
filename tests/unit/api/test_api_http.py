"""What the api answers by itself: negotiation, limits, bodies, problems. No gateway is needed, and none is there."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from pydantic import ValidationError

from segdepth_api.app import create_app
from segdepth_api.limits import Admission
from segdepth_api.metrics import Metrics
from segdepth_api.problems import Problem
from segdepth_api.settings import ApiSettings
from segdepth_stack.ports import settle
from tests.unit.sdk.files.dm_writer import dm_file, dm_image

RAW = {"content-type": "application/octet-stream"}
FRAME = {"sampling_A": "0.1", "height": "4", "width": "6", "dtype": "u16"}


@asynccontextmanager
async def api(**changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An api whose gateway's port nobody listens at."""
    (nobody,) = settle("127.0.0.1", 0)
    app = create_app(ApiSettings(gateway=f"127.0.0.1:{nobody}", **changes))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client
    await app.state.services.callers.close()
    await app.state.services.gateway.close()


def check_problem(response: httpx.Response, status: int, name: str, field: str | None = None) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == f"urn:segdepth:problem:{name}"
    assert problem["status"] == status
    assert problem.get("field") == field
    return str(problem["detail"])


async def test_alive_but_not_ready_without_a_gateway() -> None:
    async with api() as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        response = await client.get("/readyz")
    check_problem(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1


async def test_no_gateway_is_503_with_retry_after() -> None:
    async with api() as client:
        response = await client.post("/v1/estimate", params=FRAME, content=bytes(48), headers=RAW)
    check_problem(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("accept", ["application/xml", "text/plain;q=0.5, image/jpeg"])
async def test_what_cannot_be_had_is_406(accept: str) -> None:
    async with api() as client:
        response = await client.post("/v1/estimate", params=FRAME, content=bytes(48), headers={**RAW, "accept": accept})
    assert "text/csv" in check_problem(response, 406, "not-acceptable", "Accept")


@pytest.mark.parametrize("field", ["sampling_A", "height", "width", "dtype"])
async def test_a_raw_frame_says_what_it_is(field: str) -> None:
    async with api() as client:
        params = {name: value for name, value in FRAME.items() if name != field}
        check_problem(
            await client.post("/v1/estimate", params=params, content=bytes(48), headers=RAW),
            422,
            "invalid-frame",
            field,
        )


async def test_a_raw_frame_of_the_wrong_length_is_counted() -> None:
    async with api() as client:
        response = await client.post("/v1/estimate", params=FRAME, content=bytes(47), headers=RAW)
    assert "47 bytes, but 4x6 u16 has 48" in check_problem(response, 422, "invalid-frame", "body")


@pytest.mark.parametrize("sampling", ["0", "1", "-0.1", "nan", "1000"])
async def test_a_sampling_that_can_be_none_names_its_field(sampling: str) -> None:
    async with api() as client:
        response = await client.post(
            "/v1/estimate", params={**FRAME, "sampling_A": sampling}, content=bytes(48), headers=RAW
        )
    check_problem(response, 422, "invalid-frame", "calibration.sampling_angstrom_per_px")


@pytest.mark.parametrize("params", [{"samplng_A": "0.1"}, {"dtype": "f64"}, {"height": "1"}, {"frame": "-1"}])
async def test_a_wrong_parameter_is_named(params: dict[str, str]) -> None:
    async with api() as client:
        response = await client.post("/v1/estimate", params=FRAME | params, content=bytes(48), headers=RAW)
    check_problem(response, 422, "invalid-parameter", next(iter(params)))


async def test_credentials_other_than_bearer_are_401() -> None:
    async with api() as client:
        response = await client.get("/v1/models", headers={"authorization": "Basic YTpi"})
    check_problem(response, 401, "not-authenticated", "Authorization")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    async with api(max_body_bytes=1000) as client:
        response = await client.post("/v1/estimate", params=FRAME, content=bytes(1001), headers=RAW)
    check_problem(response, 413, "body-too-large", "body")


async def test_a_body_of_unknown_size_is_cut_off_at_the_limit() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 100
            yield bytes(100)

    async with api(max_body_bytes=1000) as client:
        response = await client.post("/v1/estimate", params=FRAME, content=endless(), headers=RAW)
    check_problem(response, 413, "body-too-large", "body")
    assert sent <= 1200


async def test_a_form_is_cut_off_at_the_limit_too() -> None:
    async with api(max_body_bytes=1000) as client:
        response = await client.post("/v1/estimate", files={"file": ("movie.npy", bytes(2000))})
    check_problem(response, 413, "body-too-large", "body")


async def test_a_body_that_does_not_arrive_is_408() -> None:
    async def stalls() -> AsyncIterator[bytes]:
        yield bytes(10)
        await asyncio.sleep(60)

    async with api(upload_timeout_s=0.2) as client:
        response = await client.post("/v1/estimate", params=FRAME, content=stalls(), headers=RAW)
    check_problem(response, 408, "request-timeout", "body")


async def test_other_kinds_of_body_are_415() -> None:
    async with api() as client:
        check_problem(await client.post("/v1/estimate", json={}), 415, "unsupported-media-type", "Content-Type")
        response = await client.post("/v1/estimate", files={"file": ("../../movie.xyz", b"x")})
    assert ".mrc" in check_problem(response, 415, "unsupported-media-type", "file")


async def test_a_form_without_a_file_is_422() -> None:
    async with api() as client:
        response = await client.post("/v1/estimate", files={"movie": ("movie.npy", b"x")})
    check_problem(response, 422, "invalid-frame", "file")


def tiff(frames: int, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((frames, 32, 32), np.uint8), photometric="minisblack", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("field", ["sampling_A", "frame", "model"])
async def test_a_parameter_in_the_form_is_not_overlooked(field: str) -> None:
    """The file says 0.1 Å/px, the form something else: neither may win."""
    file = tiff(1, resolution=(1e9, 1e9), resolutionunit=3)
    async with api() as client:
        response = await client.post("/v1/estimate", files={"file": ("movie.tif", file)}, data={field: "0.05"})
    assert "as a query parameter" in check_problem(response, 422, "invalid-parameter", field)


async def test_an_unknown_field_of_the_form_is_named() -> None:
    async with api() as client:
        fields = {"samplng": "0.05", "sampling_A": "0.05"}
        response = await client.post("/v1/estimate", files={"file": ("movie.tif", tiff(1))}, data=fields)
    assert "sampling_A" in check_problem(response, 422, "invalid-parameter", "samplng")


@pytest.mark.parametrize("name, says", [("a.emi", "SER files beside it"), ("a.zarr", "folder"), ("a.doc", ".dm4")])
async def test_what_is_no_movie_in_one_file_is_415(name: str, says: str) -> None:
    async with api() as client:
        response = await client.post("/v1/estimate", files={"file": (name, b"x")})
    assert says in check_problem(response, 415, "unsupported-media-type", "file")


async def test_a_file_of_several_movies_lists_them_and_one_is_named() -> None:
    frames = np.ones((2, 32, 32), np.uint16)
    file = dm_file([dm_image(frames), dm_image(frames[0])])
    async with api(max_frames=1) as client:

        async def sent(**params: Any) -> httpx.Response:
            return await client.post("/v1/estimate", files={"file": ("m.dm4", file)}, params=params)

        detail = check_problem(await sent(), 422, "unreadable-file")
        assert "say which (dataset): there is 2 2x32x32 uint16" in detail
        # Read, and too long; the other is one frame, and no gateway is there to count it.
        check_problem(await sent(dataset="2"), 413, "too-many-frames", "file")
        check_problem(await sent(dataset="3"), 503, "unavailable")
        assert "no dataset 7" in check_problem(await sent(dataset="7"), 422, "unreadable-file")
        raw = await client.post("/v1/estimate", params={**FRAME, "dataset": "2"}, content=bytes(48), headers=RAW)
        check_problem(raw, 422, "invalid-parameter", "dataset")


async def test_pixels_that_do_not_inflate_are_422() -> None:
    file = bytearray(tiff(1, compression="zstd", metadata=None))
    place = file.index(b"\x28\xb5\x2f\xfd")
    file[place + 4 : place + 12] = bytes(8)
    async with api() as client:
        response = await client.post(
            "/v1/estimate", files={"file": ("movie.tif", bytes(file))}, params={"sampling_A": 0.1}
        )
    detail = check_problem(response, 422, "unreadable-file")
    assert "frame 0: damaged" in detail
    assert "upload" not in detail


async def test_a_broken_file_is_422_and_says_nothing_of_this_machine(tmp_path: Path) -> None:
    async with api() as client:
        response = await client.post(
            "/v1/estimate", files={"file": ("movie.tif", tiff(2)[:-100])}, params={"sampling_A": 0.1}
        )
        detail = check_problem(response, 422, "unreadable-file")
        assert str(tmp_path.anchor) + "tmp" not in detail
        assert "upload" not in detail
        response = await client.post("/v1/estimate", files={"file": ("movie.tif", tiff(2))})
        assert "sampling_A" in check_problem(response, 422, "unreadable-file")


async def test_too_many_frames_and_a_frame_that_is_not_there() -> None:
    async with api(max_frames=3) as client:
        files = {"file": ("movie.tif", tiff(4))}
        response = await client.post("/v1/estimate", files=files, params={"sampling_A": 0.1})
        check_problem(response, 413, "too-many-frames", "file")
        response = await client.post("/v1/estimate", files=files, params={"sampling_A": 0.1, "frame": 4})
        check_problem(response, 422, "invalid-parameter", "frame")


async def test_a_picture_of_a_movie_needs_the_number_of_a_frame() -> None:
    async with api() as client:
        response = await client.post(
            "/v1/estimate",
            files={"file": ("m.tif", tiff(2))},
            params={"sampling_A": 0.1},
            headers={"accept": "image/png"},
        )
    check_problem(response, 422, "invalid-parameter", "frame")


async def test_unknown_routes_and_methods_are_problems_too() -> None:
    async with api() as client:
        check_problem(await client.get("/v2/estimate"), 404, "not-found")
        check_problem(await client.get("/v1/estimate"), 405, "method-not-allowed")


async def test_openapi_has_examples_and_every_problem() -> None:
    async with api() as client:
        document = (await client.get("/openapi.json")).json()
    post = document["paths"]["/v1/estimate"]["post"]
    assert set(post["requestBody"]["content"]) == {"multipart/form-data", "application/octet-stream"}
    assert (
        post["responses"]["200"]["content"]["application/json"]["example"]["frames"][0]["columns"][0]["species"] == "Ce"
    )
    upload = post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["file"]
    assert ".dm4" in upload["description"]
    assert ".zarr" not in upload["description"]
    assert "dataset" in {parameter["name"] for parameter in post["parameters"]}
    assert {"406", "413", "422", "429", "503", "504"} <= set(post["responses"])
    reference = post["responses"]["422"]["content"]["application/problem+json"]["schema"]["$ref"]
    assert reference.rsplit("/", 1)[1] in document["components"]["schemas"]


async def test_requests_are_counted_by_route_not_by_path() -> None:
    async with api() as client:
        await client.get("/v1/models")
        for path in ("/a", "/b", "/c"):
            await client.get(path)
        text = (await client.get("/metrics")).text
    assert 'segdepth_api_requests_total{method="GET",route="/v1/models",status="503"} 1.0' in text
    assert 'route="none",status="404"} 3.0' in text
    assert '"/a"' not in text


async def test_more_than_wait_are_turned_away_and_the_rest_take_turns() -> None:
    admission = Admission(running=1, waiting=1, timeout_s=5, metrics=Metrics())
    order: list[str] = []
    release = asyncio.Event()

    async def hold(name: str) -> None:
        async with admission.slot():
            order.append(name)
            await release.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold("first"))
        tasks.create_task(hold("second"))
        await asyncio.sleep(0.05)
        assert order == ["first"]
        with pytest.raises(Problem) as turned_away:
            async with admission.slot():
                pass
        assert turned_away.value.status == 503
        assert turned_away.value.headers["Retry-After"] == "1"
        release.set()
    assert order == ["first", "second"]
    async with admission.slot():
        pass


async def test_who_waits_too_long_is_turned_away_and_leaves_room() -> None:
    admission = Admission(running=1, waiting=1, timeout_s=0.05, metrics=Metrics())
    async with admission.slot():
        for _ in range(3):
            with pytest.raises(Problem, match="in time"):
                async with admission.slot():
                    pass
    async with admission.slot():
        pass


def test_beyond_loopback_needs_tls() -> None:
    with pytest.raises(ValidationError, match="plaintext"):
        ApiSettings(host="192.0.2.7")
    assert ApiSettings(host="192.0.2.7", insecure=True).insecure


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGDEPTH_API_PORT", "8123")
    assert ApiSettings().port == 8123
