"""The comparison with stable on the same frames, and what a run does with it."""

import json
from pathlib import Path

import numpy as np
import pytest

from segdepth_artefacts import Manifest, open_store
from segdepth_artefacts.promotion import PromotionGates
from segdepth_core.scoring import ROW
from segdepth_training.fitting import model
from segdepth_training.frames.exit_waves import Plan
from segdepth_training.judging.evaluate import Rival, evaluate
from segdepth_training.judging.figures import mean, paired_difference
from segdepth_training.recipes.recipe import Gates, Set
from segdepth_training.recipes.seeds import SeedRange, run_seed
from segdepth_training.runs.release import offer, promote
from segdepth_training.runs.workspace import Workspace
from tests.models import released_model, tiny_model
from tests.unit.training.small import filled, recipe
from tests.unit.training.test_training_release import RECIPES


def rows(right: list[list[bool]]) -> np.ndarray:
    """Rows of true columns, one list a specimen; right or wrong at their centre."""
    made = np.zeros(sum(map(len, right)), ROW)
    made["specimen"] = np.repeat(np.arange(len(right)), [len(one) for one in right])
    made["true"] = 5
    made["centre"] = np.where(np.concatenate([np.array(one) for one in right]), 5, 4)
    return made


def test_difference_of_shares():
    ours, theirs = rows([[True, True], [True, False]]), rows([[True, False], [False, False]])
    assert paired_difference(ours, theirs).value == pytest.approx(0.5)
    assert paired_difference(theirs, ours).value == pytest.approx(-0.5)


def test_what_both_find_hard_is_no_doubt():
    """Each specimen is harder for both; ours is always one column of ten better."""
    hard = [[True] * n + [False] * (10 - n) for n in range(1, 10)]
    better = [[True] * (n + 1) + [False] * (9 - n) for n in range(1, 10)]
    difference = paired_difference(rows(better), rows(hard))
    assert difference.low == pytest.approx(0.1)
    assert difference.high == pytest.approx(0.1)
    alone = mean(rows(hard)["centre"] == 5, rows(hard)["specimen"])
    assert alone.high - alone.low > 0.2


def test_interval_holds_zero_where_they_are_alike():
    rng = np.random.default_rng(4)
    ours, theirs = (rows((rng.random((40, 50)) < 0.7).tolist()) for _ in range(2))
    difference = paired_difference(ours, theirs)
    assert difference.low < 0 < difference.high
    assert difference == paired_difference(ours, theirs)


def test_other_frames_are_refused():
    with pytest.raises(ValueError, match="same true columns"):
        paired_difference(rows([[True]]), rows([[True, True]]))


def test_no_columns_no_figure():
    assert np.isnan(paired_difference(rows([[]]), rows([[]])).value)


@pytest.mark.slow
def test_worse_candidate_has_a_negative_difference_and_is_not_promoted(tmp_path: Path):
    """The tests' tiny model, which knows no microscopy, beside the released one on real simulated frames."""
    small = recipe(family="ceo2-110", specimens__cell_A=28.8, training__field_px=128)
    plan = Plan(small, SeedRange.BENCHMARK, 7, 3, in_turn=True)
    data = filled(tmp_path / "benchmark.zarr", plan)
    candidate = tmp_path / "model"
    tiny_model(candidate, "2")
    model.write(
        candidate, model.read(candidate).model_copy(update={"family": "ceo2-110", "recipe": small.model_dump()})
    )
    stable = Manifest.model_validate_json((released_model() / "manifest.json").read_text())
    store = open_store(str(tmp_path / "store"))
    store.register(stable, {name: released_model() / name for name in stable.files})
    store.point("ceo2-110", "stable", stable.version, principal="tests", reason="a test", expected=None)

    settings = Set(specimens=3, doses=(1000.0,))
    rival = Rival(released_model(), stable.version, "a")
    gates = Gates(paper_accuracy={"1000": 0.9}, ece=1.0)
    report = evaluate(candidate, data, plan, settings, gates, lambda done, total: None, rival)
    (pair,) = report["paired"]["doses"].values()
    assert pair["difference"]["high"] < 0
    assert pair["difference"]["value"] < -0.3
    assert report["paired"]["seed"] == 7
    assert "1000 e/Å²" in report["missed"][0]
    assert json.loads((candidate / "report.json").read_text())["paired"] == report["paired"]

    before = store.channel("ceo2-110", "stable")
    for _ in range(2):  # Again: no effect.
        manifest = offer(candidate, store, report, run_id="a", principal="tests")
    channel = store.channel("ceo2-110", "candidate")
    assert channel is not None
    assert (channel.version, len(channel.history), channel.history[0].principal) == (manifest.version, 1, "tests")
    lenient = PromotionGates(max_ece=1, max_ece_rise=1, min_specimens=3)
    refused = promote(store, "ceo2-110", manifest.version, lenient, run_id="a", principal="tests")
    assert any("worse than" in reason for reason in refused)
    assert any("own gate" in reason for reason in refused)
    assert store.channel("ceo2-110", "stable") == before


def test_scheduled_runs_draw_a_gate_set_of_their_own(tmp_path: Path):
    first, second = (Workspace.open(tmp_path / name, RECIPES / "smoke.toml", name, fresh=True) for name in ("a", "b"))
    manual = Workspace.open(tmp_path / "c", RECIPES / "smoke.toml", "c")
    plans = [one.plan(SeedRange.BENCHMARK).digest for one in (first, second, manual)]
    assert len(set(plans)) == 3
    assert first.seeds["benchmark"] == run_seed("a")
    assert first.plan(SeedRange.BENCHMARK).purpose != first.plan(SeedRange.TRAIN).purpose
    assert first.plan(SeedRange.CALIBRATION).digest == manual.plan(SeedRange.CALIBRATION).digest
