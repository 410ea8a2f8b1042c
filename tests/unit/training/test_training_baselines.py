"""The baselines of the benchmark: a network that tells one number, a denoiser before the released network."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segdepth_core.network import build, gaussian_centre, gaussian_logits
from segdepth_core.scoring import ROW, score
from segdepth_core.weights import load_network, network_of, save_weights
from segdepth_training.benchmark.bars import judged
from segdepth_training.benchmark.contenders import baselines
from segdepth_training.benchmark.denoising import Denoiser, draw_pairs, load_denoiser
from segdepth_training.benchmark.report import differences
from segdepth_training.fitting import model
from segdepth_training.fitting.optimisation import Optimisation, depth_loss, parameter_groups, started
from segdepth_training.frames.exit_waves import ExitWaves, Plan, load
from segdepth_training.frames.observation import observe
from segdepth_training.judging.figures import paired_difference
from segdepth_training.recipes.recipe import Recipe
from segdepth_training.recipes.seeds import SeedRange
from tests.models import released_model, tiny_model
from tests.unit.training.small import filled, recipe

RELEASED = Path(__file__).parents[3] / "training" / "released" / "baselines" / "ceo2-110"
CPU = torch.device("cpu")
REGRESSION = {"widths": [12, 16, 16], "decoder_blocks": [1, 1], "depth": "regression"}


def regression(**changes: object) -> Recipe:
    return recipe(training__network=REGRESSION, **{f"training__{name}": value for name, value in changes.items()})


def sharp(**changes: object) -> Recipe:
    """A field as large as the gate wants, as the released networks know it."""
    specimens = {"cell_A": 28.8, "kinds": {"flat": 0.5, "smooth": 0.5}, "thick_share": 0.0}
    return recipe(specimens=specimens, training__field_px=128, training__frames=4, **changes)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(sharp(), SeedRange.BENCHMARK, 5, 2)


@pytest.fixture(scope="module")
def waves(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> ExitWaves:
    return load(filled(tmp_path_factory.mktemp("waves") / "waves.zarr", plan), plan, CPU)


def test_posterior_is_a_gaussian_around_the_number():
    atoms = torch.tensor([4.3, 6.0]).reshape(1, 1, 1, 2)
    found = torch.softmax(gaussian_logits(atoms) / 0.5, dim=1)[0, :, 0]
    classes = torch.arange(11)[:, None]
    wanted = torch.distributions.Normal(atoms[0, 0], 0.5**0.5).log_prob(classes).exp()
    torch.testing.assert_close(found, wanted / wanted.sum(0))
    torch.testing.assert_close(gaussian_centre(gaussian_logits(atoms)), atoms[:, 0])


def test_mean_of_logits_is_the_gaussian_around_the_mean():
    atoms = torch.tensor([2.0, 3.0, 7.0]).reshape(3, 1, 1, 1)
    together = torch.softmax(gaussian_logits(atoms).mean(0, keepdim=True), dim=1)
    torch.testing.assert_close(together, torch.softmax(gaussian_logits(atoms.mean(0, keepdim=True)), dim=1))


def test_loss_is_least_at_the_true_number():
    depth = torch.full((1, 2, 2), 6)
    near, far = (gaussian_logits(torch.full((1, 1, 2, 2), value)) for value in (6.0, 8.0))
    assert depth_loss(near, depth, regression=True).sum() == pytest.approx(0, abs=1e-6)
    assert depth_loss(far, depth, regression=True).mean() == pytest.approx(1.5)


def test_network_that_tells_a_number_is_saved_and_loaded(tmp_path: Path):
    manifest = tiny_model(tmp_path)
    network = build("unet", dict(REGRESSION)).eval()
    save_weights(network, tmp_path / "weights.safetensors")
    again = load_network(tmp_path, manifest.model_copy(update={"network": network_of(network)}))
    frame = torch.randn(1, 64, 64)
    heads = again(frame)
    assert heads.depth_BKHW.shape == (1, 11, 64, 64)
    torch.testing.assert_close(
        gaussian_centre(heads.depth_BKHW), gaussian_centre(network(frame).depth_BKHW), atol=0.02, rtol=0
    )


def test_depth_told_in_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="regression"):
        build("unet", {"depth": "guesses"})


def test_started_network_has_a_new_head_and_the_old_trunk(tmp_path: Path):
    known = load_network(tmp_path, tiny_model(tmp_path)).state_dict()
    network, new = started(tmp_path, regression().training)
    for name, value in network.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(value, known[name]), name
    assert torch.equal(network.head.weight[4:], known["head.weight"][44:])  # Species and centre.
    assert not any(torch.equal(network.head.weight[0], row) for row in known["head.weight"])
    fast = [
        group for group in parameter_groups(network, regression(start_share=0.1).training, new) if group["share"] == 1
    ]
    assert {id(p) for group in fast for p in group["params"]} == {id(p) for p in network.head.parameters()}


def test_network_of_another_crystal_knows_all_but_its_species(tmp_path: Path):
    known = load_network(tmp_path, tiny_model(tmp_path)).state_dict()
    gold = regression().training.model_copy(update={"network": {**REGRESSION, "depth": "classes", "species": 1}})
    network, new = started(tmp_path, gold)
    assert "head." in new
    head, theirs = network.head.weight, known["head.weight"]
    assert torch.equal(head[:44], theirs[:44])  # Depth, four rows a class.
    assert torch.equal(head[48:], theirs[52:])  # Nearness to a column.
    assert not any(torch.equal(head[44], row) for row in theirs)


def test_norms_are_kept(waves: ExitWaves, tmp_path: Path):
    from segdepth_training.frames.batches import draw_batch

    tiny_model(tmp_path)
    for keeps in (True, False):
        small = sharp(training__network=REGRESSION, training__keep_norms=keeps, training__start="stable")
        optimisation = Optimisation(small.training, 5, CPU, tmp_path)
        before = {name: value.clone() for name, value in optimisation.network.state_dict().items() if "running" in name}
        optimisation.advance(draw_batch(waves, small, torch.Generator().manual_seed(0)))
        after = optimisation.network.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items()) == keeps


def test_untrained_denoiser_changes_nothing():
    frames = torch.randn(2, 64, 64)
    torch.testing.assert_close(Denoiser((8, 12), (1,)).eval()(frames), frames)


def test_released_denoiser_denoises(waves: ExitWaves):
    noisy, clean = draw_pairs(
        waves, sharp(camera={"dose": [50, 1000], "noise_free_share": 0}), torch.Generator().manual_seed(1)
    )
    with torch.inference_mode():
        denoised = load_denoiser(RELEASED / "denoiser")(noisy)
    before, after = ((frames - clean).square().mean() for frames in (noisy, denoised))
    assert after < 0.3 * before


def test_files_are_what_the_manifests_say():
    for kind in ("regression", "denoiser"):
        manifest = model.read(RELEASED / kind)
        for name, file in manifest.files.items():
            assert model.described(RELEASED / kind / name) == file
            assert file.size_bytes < 10e6


def test_every_baseline_answers(waves: ExitWaves, plan: Plan):
    found = {entry.name: entry for entry in baselines(RELEASED, released_model())}
    assert list(found) == ["Gaussian mixture, true positions", "regression network", "denoise, then segment"]
    observation = observe(waves, plan, 0, 2000.0)
    for name, entry in found.items():
        rows = score(observation.truth, entry.make().answer(observation))
        true = rows[rows["true"] > 0]
        assert true["found"].mean() > 0.8, name
        if "mixture" not in name:  # Of one frame its library may be far off.
            assert (np.abs(true["count"] - true["true"]) <= 1).mean() > 0.5, name


def test_a_denoiser_of_other_weights_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tiny_model(tmp_path)
    assert [entry.name for entry in baselines(RELEASED, tmp_path)][1:] == ["regression network"]
    assert "other weights" in capsys.readouterr().out
    assert baselines(tmp_path, tmp_path) == []


def rows(right: list[bool]) -> np.ndarray:
    made = np.zeros(len(right), ROW)
    made["specimen"], made["family"], made["dose"] = np.arange(len(right)), "paper", 500
    made["true"], made["found"] = 5, True
    made["count"] = np.where(right, 5, 4)
    return made


def test_a_model_beats_a_baseline_where_the_interval_is_above_0():
    ours = rows([True] * 20)
    better, equal = differences(ours, rows([False, True] * 10)), differences(ours, ours)
    bars = judged({}, against={"one": better, "other": equal})
    assert [(bar.what, bar.dose, bar.figure, bar.reached) for bar in bars if bar.family == "paper"] == [
        ("counts, beats one", "500", 0.5, True),
        ("counts, beats other", "500", 0.0, False),
    ]


def test_a_column_that_was_not_found_is_not_counted_right():
    ours, theirs = rows([True] * 4), rows([True] * 4)
    theirs["found"] = [True, False, True, False]
    assert paired_difference(ours, theirs, counts=True).value == pytest.approx(0.5)
