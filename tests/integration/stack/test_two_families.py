"""Two families served by one stack: chosen by name, by the lattice, and named by a refusal."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import mrcfile
import numpy as np
import pytest

import segdepth
from segdepth.errors import OutsideDomain, UnknownModel
from segdepth.results import FrameResult, Status
from segdepth_stack.settings import StackSettings
from segdepth_stack.stack import Stack
from tests.models import add_family, lattice_frame, tiny_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
GOLD_A = 3.4
AUTO = segdepth.Options(model="auto")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Families "tiny" (Ce, O; columns 2.7 Å apart), "gold" (Au; 3.4 Å) and "gold@titan", gold of one instrument."""
    folder = tiny_store(tmp_path_factory.mktemp("families") / "store", strict_domain=True)
    for family in ("gold", "gold@titan"):
        add_family(folder, family, spacing_A=GOLD_A)
    return folder


@pytest.fixture(scope="module")
def stack(store: Path) -> Iterator[Stack]:
    settings = StackSettings(store=str(store), port=0, http_port=0, metrics_port=0, family="tiny")
    with Stack(settings) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[segdepth.Client]:
    with segdepth.connect(stack.address) as connected:
        yield connected


def test_each_answers_by_its_name(client: segdepth.Client) -> None:
    own = client.estimate(lattice_frame(3), 0.1)
    gold = client.estimate(lattice_frame(3, spacing_A=GOLD_A), 0.1, segdepth.Options(model="gold"))
    assert (own.model.family, set(own.columns.species_names())) == ("tiny", {"Ce", "O"})
    assert (gold.model.family, set(gold.columns.species_names())) == ("gold", {"Au"})
    assert gold.domain.status is Status.OK
    with pytest.raises(UnknownModel, match="gold"):
        client.estimate(lattice_frame(3), 0.1, segdepth.Options(model="silver"))


def test_a_stream_of_both_is_answered_by_the_lattices(client: segdepth.Client) -> None:
    spacings_A = [2.7, 2.7, GOLD_A, 2.7, GOLD_A, GOLD_A]
    frames = [lattice_frame(seed, spacing_A=spacing_A) for seed, spacing_A in enumerate(spacings_A)]
    answers = [answer for answer in client.stream(frames, 0.1, AUTO) if isinstance(answer, FrameResult)]
    families = ["tiny" if spacing_A < GOLD_A else "gold" for spacing_A in spacings_A]
    assert [answer.model.family for answer in answers] == families
    assert all(answer.domain.status is Status.OK for answer in answers)
    for frame, answer in zip(frames, answers, strict=True):
        named = client.estimate(frame, 0.1, segdepth.Options(model=answer.model.family))
        np.testing.assert_array_equal(answer.columns.count, named.columns.count)


def test_no_lattice_and_the_wrong_one_are_refused_in_words(client: segdepth.Client) -> None:
    gold = lattice_frame(2, spacing_A=GOLD_A)
    assert "this lattice is that of gold" in client.estimate(gold, 0.1).domain.why()
    noise = np.random.default_rng(5).poisson(20, (256, 256)).astype(np.uint16)
    refused = client.estimate(noise, 0.1, AUTO)
    assert refused.refused
    assert "no family here (gold, tiny)" in refused.domain.why()
    with pytest.raises(OutsideDomain, match="no family here"):
        client.estimate(noise, 0.1, segdepth.Options(model="auto", strict=True))
    with pytest.raises(UnknownModel, match="of which family"):
        client.estimate(gold, 0.1, segdepth.Options(model="auto", version="1"))


def test_in_this_process_it_is_the_same(client: segdepth.Client, store: Path) -> None:
    frames = [lattice_frame(3), lattice_frame(4, spacing_A=GOLD_A)]
    with segdepth.connect("local", store=str(store), model="tiny") as local:
        for frame in frames:
            here, there = local.estimate(frame, 0.1, AUTO), client.estimate(frame, 0.1, AUTO)
            assert here.model.family == there.model.family
            assert here.columns.species_names() == there.columns.species_names()
            np.testing.assert_array_equal(here.columns.count, there.columns.count)


def test_the_command_line_and_the_models_list(stack: Stack, client: segdepth.Client, tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "gold.mrc") as mrc:
        mrc.set_data(np.stack([lattice_frame(seed, spacing_A=GOLD_A) for seed in range(2)]))
        mrc.set_image_stack()
        mrc.voxel_size = 0.1
    command = [Path(sys.executable).parent / "segdepth", "estimate", tmp_path / "gold.mrc", "--model", "auto"]
    asked = [*command, "--server", stack.address, "--out", tmp_path / "out", "--pictures", "1"]
    subprocess.run(asked, check=True, capture_output=True)
    rows = list(csv.DictReader((tmp_path / "out" / "gold.columns.csv").read_text().splitlines()))
    assert len(rows) > 40
    assert {row["species"] for row in rows} == {"Au"}
    assert json.loads((tmp_path / "out" / "gold.summary.json").read_text())["model"]["family"] == "gold"
    assert list((tmp_path / "out").glob("*.png"))
    assert {model.version.family: model.problem for model in client.models()} == {
        "gold": "",
        "gold@titan": "",
        "tiny": "",
    }


def test_over_http_the_rows_name_gold(stack: Stack) -> None:
    image = lattice_frame(6, spacing_A=GOLD_A)
    query = {"sampling_A": "0.1", "height": "256", "width": "256", "dtype": "u16", "model": "auto"}
    headers = {"content-type": "application/octet-stream"}
    url = f"{stack.http_url}/v1/estimate"
    answer = httpx.post(url, params=query, content=image.astype("<u2").tobytes(), headers=headers, timeout=60).json()
    assert answer["model"]["family"] == "gold"
    assert {column["species"] for column in answer["frames"][0]["columns"]} == {"Au"}


@pytest.mark.parametrize("written", ["gold@titan", "gold%40titan"])
def test_over_http_an_instruments_family_is_listed_and_answers(stack: Stack, written: str) -> None:
    listed = httpx.get(f"{stack.http_url}/v1/models?family={written}", timeout=60).json()["models"]
    assert [model["family"] for model in listed] == ["gold@titan"]
    image = lattice_frame(6, spacing_A=GOLD_A)
    url = f"{stack.http_url}/v1/estimate?sampling_A=0.1&height=256&width=256&dtype=u16&model={written}"
    headers = {"content-type": "application/octet-stream"}
    answer = httpx.post(url, content=image.astype("<u2").tobytes(), headers=headers, timeout=60).json()
    assert answer["model"]["family"] == "gold@titan"


def test_the_command_line_asks_an_instruments_family(stack: Stack, tmp_path: Path) -> None:
    np.save(tmp_path / "gold.npy", lattice_frame(6, spacing_A=GOLD_A)[None])
    command = [Path(sys.executable).parent / "segdepth", "estimate", tmp_path / "gold.npy", "--sampling", "0.1"]
    asked = [*command, "--model", "gold@titan", "--server", stack.address, "--out", tmp_path / "out"]
    subprocess.run(asked, check=True, capture_output=True)
    summary = json.loads((tmp_path / "out" / "gold.summary.json").read_text())
    assert summary["model"]["family"] == "gold@titan"


def test_over_http_each_frame_of_a_movie_says_which_family_answered(stack: Stack, tmp_path: Path) -> None:
    np.save(tmp_path / "both.npy", np.stack([lattice_frame(3), lattice_frame(4, spacing_A=GOLD_A)]))
    files = {"file": ("both.npy", (tmp_path / "both.npy").read_bytes())}
    query = {"sampling_A": "0.1", "model": "auto"}
    answer = httpx.post(f"{stack.http_url}/v1/estimate", params=query, files=files, timeout=60).json()
    assert [frame["model"]["family"] for frame in answer["frames"]] == ["tiny", "gold"]


def test_the_command_line_names_every_model_that_answered(stack: Stack, tmp_path: Path) -> None:
    np.save(tmp_path / "both.npy", np.stack([lattice_frame(3), lattice_frame(4, spacing_A=GOLD_A)]))
    command = [Path(sys.executable).parent / "segdepth", "estimate", tmp_path / "both.npy", "--sampling", "0.1"]
    asked = [*command, "--model", "auto", "--server", stack.address, "--out", tmp_path / "out", "--format", "json"]
    said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    assert "tiny 1 (" in " ".join(said.split())
    assert "and gold 1 (" in " ".join(said.split())
    summary = json.loads((tmp_path / "out" / "both.summary.json").read_text())
    assert [frame["model_family"] for frame in summary["frames"]] == ["tiny", "gold"]
