"""The api in front of a real gateway, Ray Serve and a model."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import mrcfile
import numpy as np
import pytest
from PIL import Image

import segdepth
from segdepth.export import CSV_HEADER, csv_rows
from tests.integration.stack.conftest import Running
from tests.models import lattice_frame

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
RAW = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def http(running: Running) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {running.token}"}
    with httpx.Client(base_url=running.stack.http_url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("movies") / "movie.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.stack([lattice_frame(seed) for seed in range(5)]))
        mrc.set_image_stack()
        mrc.voxel_size = 0.1
    return path


def raw(image: np.ndarray, sampling_A: float = 0.1) -> tuple[dict[str, str], bytes]:
    height, width = image.shape
    params = {"sampling_A": f"{sampling_A}", "height": f"{height}", "width": f"{width}", "dtype": "u16"}
    return params, image.astype("<u2").tobytes()


def test_ready(http: httpx.Client) -> None:
    assert http.get("/readyz").json() == {"status": "ok"}


def test_models(http: httpx.Client) -> None:
    (model,) = http.get("/v1/models").json()["models"]
    assert (model["family"], model["version"], model["serving"]) == ("tiny", "1", True)
    assert model["channels"] == ["stable"]
    assert model["sampling_lower_A"] == 0.05


def test_a_raw_frame_has_the_rows_that_the_sdk_gives(http: httpx.Client, running: Running) -> None:
    image = lattice_frame(3)
    params, body = raw(image)
    table = http.post("/v1/estimate", params=params, content=body, headers={**RAW, "accept": "text/csv"})
    assert table.status_code == 200
    assert table.headers["content-type"].startswith("text/csv")
    with segdepth.connect(running.stack.address, token=running.token) as client:
        result = client.estimate(image, 0.1)
    assert table.text == CSV_HEADER + csv_rows(result)
    assert len(result.columns) > 20


def test_json_says_the_same_as_csv(http: httpx.Client) -> None:
    params, body = raw(lattice_frame(3))
    answer = http.post("/v1/estimate", params=params, content=body, headers=RAW).json()
    table = http.post("/v1/estimate", params=params, content=body, headers={**RAW, "accept": "text/csv"}).text
    (frame,) = answer["frames"]
    assert answer["model"]["version"] == "1"
    assert frame["status"] in ("ok", "suspect")
    assert {check["name"] for check in frame["checks"]} >= {"sampling", "field", "lattice"}
    rows = list(csv.DictReader(io.StringIO(table)))
    assert len(rows) == len(frame["columns"])
    for row, column in zip(rows, frame["columns"], strict=True):
        assert row["species"] == column["species"]
        assert int(row["count"]) == column["count"]
        assert row["status"] == frame["status"]
        assert int(row["abstained"]) == column["abstained"]
        assert float(row["x_A"]) == pytest.approx(column["x_A"], abs=2e-3)
        assert float(row["p_count"]) == pytest.approx(column["p_count"], abs=2e-4)


def test_a_movie_is_answered_frame_by_frame(http: httpx.Client, movie: Path) -> None:
    answer = http.post("/v1/estimate", files={"file": (movie.name, movie.read_bytes())}).json()
    assert [frame["frame"] for frame in answer["frames"]] == [0, 1, 2, 3, 4]
    assert (answer["gaps"], answer["notes"]) == ([], [])
    one = http.post("/v1/estimate", files={"file": (movie.name, movie.read_bytes())}, params={"frame": 3}).json()
    assert [frame["frame"] for frame in one["frames"]] == [3]
    columns = [[column["count"] for column in frame["columns"]] for frame in (one["frames"][0], answer["frames"][3])]
    assert columns[0] == columns[1]


def test_how_a_file_was_read_is_noted(http: httpx.Client) -> None:
    export = io.BytesIO()
    Image.fromarray((lattice_frame(1) // 8).astype("u1")).save(export, "png")
    answer = http.post("/v1/estimate", files={"file": ("a.png", export.getvalue())}, params={"sampling_A": 0.1}).json()
    assert len(answer["frames"]) == 1
    assert "a display export" in answer["notes"][0]


def test_a_picture_of_one_frame(http: httpx.Client, movie: Path) -> None:
    files = {"file": (movie.name, movie.read_bytes())}
    response = http.post("/v1/estimate", files=files, params={"frame": 1}, headers={"accept": "image/png"})
    assert response.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(response.content)).width > 500


def test_a_frame_outside_the_domain_is_refused_with_numbers(http: httpx.Client) -> None:
    params, body = raw(lattice_frame(3, shape=(64, 64)))
    (frame,) = http.post("/v1/estimate", params=params, content=body, headers=RAW).json()["frames"]
    assert frame["status"] == "refused"
    assert frame["columns"] == []
    (field,) = [check for check in frame["checks"] if check["name"] == "field"]
    assert field["value"] == pytest.approx(6.4)
    assert field["lower"] == 20.0
    strict = http.post("/v1/estimate", params={**params, "strict": "true"}, content=body, headers=RAW)
    assert (strict.status_code, strict.json()["type"]) == (422, "urn:segdepth:problem:outside-domain")


def test_an_unknown_model_is_404(http: httpx.Client) -> None:
    params, body = raw(lattice_frame(3))
    response = http.post("/v1/estimate", params={**params, "version": "99"}, content=body, headers=RAW)
    assert (response.status_code, response.json()["type"]) == (404, "urn:segdepth:problem:unknown-model")
    assert "1" in response.json()["detail"]


def test_the_gateway_judges_the_caller_s_own_token(running: Running) -> None:
    params, body = raw(lattice_frame(3))
    statuses = {}
    for name, token in {"none": None, "foreign": "sd_foreign", "scope": running.token_without_scope}.items():
        headers = RAW | ({"authorization": f"Bearer {token}"} if token else {})
        url = f"{running.stack.http_url}/v1/estimate"
        statuses[name] = httpx.post(url, params=params, content=body, headers=headers, timeout=60)
    assert [response.status_code for response in statuses.values()] == [401, 401, 403]
    assert statuses["none"].headers["www-authenticate"] == "Bearer"


def test_answered_frames_are_counted(http: httpx.Client) -> None:
    params, body = raw(lattice_frame(3, shape=(64, 64)))
    before = refused(http.get("/metrics").text)
    http.post("/v1/estimate", params=params, content=body, headers=RAW)
    assert refused(http.get("/metrics").text) == before + 1


def refused(text: str) -> float:
    lines = [line for line in text.splitlines() if line.startswith('segdepth_api_frames_total{status="refused"}')]
    return float(lines[0].rsplit(" ", 1)[1]) if lines else 0.0
