"""Where runs keep their things: the same in a folder and in a bucket of a real S3 server."""

from pathlib import Path

import pytest
import torch
import zarr

from segdepth_training.fitting.loop import Run
from segdepth_training.fitting.train import train
from segdepth_training.frames.exit_waves import Plan, load, missing, simulate
from segdepth_training.machine.storage import Storage
from segdepth_training.recipes.seeds import SeedRange
from segdepth_training.runs import steps
from segdepth_training.runs.workspace import Workspace, stable_family
from tests.models import tiny_model, tiny_store
from tests.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.unit.training.small import fields, filled, recipe
from tests.unit.training.test_training_recipe import RECIPES, toml

PLAN = Plan(recipe(), SeedRange.TRAIN, 3, 2)


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    if request.param == "folder":
        return Storage.at(tmp_path / "run")
    server: S3Server = request.getfixturevalue("seaweed")
    monkeypatch.setenv("SEGDEPTH_STORE_ENDPOINT", f"http://{server.endpoint}")
    monkeypatch.setenv("SEGDEPTH_STORE_ACCESS_KEY", ACCESS_KEY)
    monkeypatch.setenv("SEGDEPTH_STORE_SECRET_KEY", SECRET_KEY)
    return Storage.at(f"s3://{server.new_bucket()}/runs/one")


def test_texts_are_written_once(storage: Storage):
    assert storage.read("run-id") is None
    storage.write_once("run-id", "one\n")
    storage.write_once("run-id", "one\n")
    with pytest.raises(ValueError, match="run-id"):
        storage.write_once("run-id", "two\n")
    assert storage.read("run-id") == "one\n"


def test_files_of_a_block_that_fails_are_not_kept_in_a_bucket(storage: Storage):
    model = storage / "model"
    with model.files() as folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text("first")
        (folder / "report.json").write_text("{}")
    with pytest.raises(ZeroDivisionError):
        change_and_fail(model)
    with model.files() as folder:
        assert (folder / "manifest.json").read_text() == "first"
        (folder / "report.json").unlink()
        (folder / "manifest.json").write_text("second")
        (folder / "weights.partial").write_text("half")
    (folder / "weights.partial").unlink(missing_ok=True)
    assert model.sizes() == {"manifest.json": 6}
    assert model.read("manifest.json") == "second"


def change_and_fail(model: Storage) -> None:
    with model.files() as folder:
        if model.remote:
            (folder / "manifest.json").write_text("half")
        1 / 0  # noqa: B018


@pytest.mark.parametrize("storage", ["bucket"], indirect=True)  # a folder is one machine's
def test_two_that_change_the_same_file_are_told(storage: Storage):
    with pytest.raises(ValueError, match=r"report\.json was meanwhile changed by another"):
        change_while_another_does(storage)
    assert storage.read("report.json") == "theirs"


def change_while_another_does(storage: Storage) -> None:
    with storage.files() as mine:
        (mine / "report.json").write_text("mine")
        with storage.files() as theirs:
            (theirs / "report.json").write_text("theirs")


@pytest.mark.slow
def test_simulation_goes_on_and_mends_what_is_not_whole(storage: Storage):
    waves = filled(storage / "waves.zarr", PLAN)
    assert missing(waves, 2) == []
    whole = load(waves, PLAN, torch.device("cpu")).waves.clone()
    damage(waves, "waves/c/0/0/0", keep_bytes=100)
    damage(waves, "columns/c/1/0/0", keep_bytes=0)
    assert missing(waves, 2) == [0, 1]
    with pytest.raises(ValueError, match=r"2 of 2 exit waves are missing or incomplete.*specimens 0, 1.*simulate"):
        load(waves, PLAN, torch.device("cpu"))
    simulate(waves, PLAN, lambda done, total: None, processes=1)
    torch.testing.assert_close(load(waves, PLAN, torch.device("cpu")).waves, whole, atol=1e-5, rtol=0)


def damage(waves: Storage, key: str, keep_bytes: int) -> None:
    """Cut a chunk short, or remove it."""
    name = key.rsplit("/", 1)[-1]
    folder = waves
    for part in key.split("/")[:-1]:
        folder = folder / part
    with folder.files() as files:
        data = (files / name).read_bytes()
        if keep_bytes:
            (files / name).write_bytes(data[:keep_bytes])
        else:
            (files / name).unlink()


def test_damaged_facts_are_not_done(storage: Storage):
    waves = filled(storage / "waves.zarr", PLAN)
    damage(waves, "facts/c/1/0", keep_bytes=2)
    assert missing(waves, 2) == [1]


def test_training_in_this_process_goes_on_from_a_checkpoint_in_a_bucket(storage: Storage):
    small = recipe(train_specimens=1)
    run = Run(
        small, filled(storage / "waves.zarr", Plan(small, SeedRange.TRAIN, 5, 1)), storage / "train", 5, minutes=0.0
    )
    seen: list[int] = []
    for _ in range(2):  # One step each, then time is up.
        checkpoint = train(run, lambda step, steps, figures: None)
        with checkpoint.files() as folder:
            seen.append(steps_of(folder))
    assert seen == [1, 2]


def steps_of(folder: Path) -> int:
    from segdepth_training.fitting.optimisation import steps_done

    return steps_done(folder)


def test_workspace_in_a_bucket_is_what_it_was_begun_as(storage: Storage, tmp_path: Path):
    begun = Workspace.open(storage, RECIPES / "smoke.toml", None, fresh=True)
    again = Workspace.open(str(storage), None, None)
    assert again == begun
    assert again.fresh
    assert again.run_id == storage.name
    with pytest.raises(ValueError, match="another gate set"):
        Workspace.open(storage, None, None, fresh=False)
    with pytest.raises(ValueError, match="belongs to run"):
        Workspace.open(storage, None, "another")


def test_start_from_stable_is_kept_with_the_run(storage: Storage, tmp_path: Path):
    text = toml(fields(family="tiny", training__start="stable"))
    (tmp_path / "recipe.toml").write_text(text)
    workspace = Workspace.open(storage, tmp_path / "recipe.toml", "a")
    empty = tmp_path / "empty"
    with pytest.raises(ValueError, match=r'training\.start = "stable": tiny has no stable version.*release one first'):
        steps.keep_start(workspace, str(empty))
    store = tiny_store(tmp_path / "store", versions=1)
    assert steps.keep_start(workspace, str(store)) == "tiny 1"
    assert workspace.start is not None
    assert workspace.start.sizes().keys() == {"weights.safetensors", "manifest.json"}
    # Another stable version does not change a run that has begun.
    assert steps.keep_start(workspace, str(empty)) == "tiny 1"
    assert workspace.run().start == workspace.start


def test_start_from_another_familys_stable(storage: Storage, tmp_path: Path):
    (tmp_path / "recipe.toml").write_text(toml(fields(family="gold", training__start="tiny/stable")))
    workspace = Workspace.open(storage, tmp_path / "recipe.toml", "a")
    with pytest.raises(ValueError, match=r'training\.start = "tiny/stable": tiny has no stable version'):
        steps.keep_start(workspace, str(tmp_path / "empty"))
    assert steps.keep_start(workspace, str(tiny_store(tmp_path / "store", versions=1))) == "tiny 1"
    assert workspace.run().start == workspace.start


@pytest.mark.parametrize(
    "start, family",
    [
        ("stable", "gold"),
        ("tiny/stable", "tiny"),
        ("./stable", None),
        ("../stable", None),
        ("/stable", None),
        (None, None),
    ],
)
def test_family_whose_stable_is_meant(start: str | None, family: str | None):
    changes = {} if start is None else {"training__start": start}
    assert stable_family(recipe(family="gold", **changes)) == family


def test_a_start_that_is_not_there_or_of_another_network_is_refused_first(storage: Storage, tmp_path: Path):
    start = tmp_path / "start"
    (tmp_path / "recipe.toml").write_text(toml(fields(training__start=str(start))))
    workspace = Workspace.open(storage, tmp_path / "recipe.toml", "a")
    with pytest.raises(ValueError, match=r'training\.start = ".*start": no released model is there'):
        steps.check_start(workspace, "")
    tiny_model(start)
    with pytest.raises(ValueError, match=r"its network is another than training\.network asks for"):
        steps.check_start(workspace, "")
    workspace.model.write_once("manifest.json", "{}")
    steps.check_start(workspace, "")


def test_zarr_in_a_bucket_is_whole_or_absent(storage: Storage):
    with pytest.raises(FileNotFoundError):
        zarr.open_group((storage / "none.zarr").arrays(), mode="r")
    assert missing(storage / "none.zarr", 2) == [0, 1]
