"""A store that is down: stable answers, the loaded candidate goes on in its shadow, and no count is lost."""

import threading
from pathlib import Path

from segdepth_artefacts import ArtefactStore, open_store
from segdepth_core.predictor import UNKNOWN
from segdepth_inference.keeper import ModelKeeper
from segdepth_inference.metrics import ShadowMetrics
from segdepth_inference.shadow import Shadow
from tests.contract.artefacts.endpoints import line_to
from tests.models import FAMILY, lattice_frame, tiny_model
from tests.s3 import S3Server

SHAPE = (200, 200)


def test_a_store_that_does_not_answer_hurts_neither_stable_nor_the_counts(seaweed: S3Server, tmp_path: Path) -> None:
    down = threading.Event()
    with line_to(seaweed.endpoint, lose_answers=lambda _: down.is_set()) as endpoint:
        url, settings = f"s3://{seaweed.new_bucket()}/models", seaweed.settings(timeout_s=2.0, attempts=1)
        register_both(open_store(url, settings), tmp_path)
        store = open_store(url, settings.model_copy(update={"endpoint": endpoint}))
        keeper = ModelKeeper(store, tmp_path / "cache", device="cpu")
        keeper.refresh()
        shadow = Shadow(keeper, store, ShadowMetrics(), replica="r1", share=1.0)
        shadow.follow()
        one_frame(keeper, shadow)
        shadow.write()
        assert store.shadow(FAMILY, "2", "1").total.frames == 1

        down.set()
        keeper.refresh()
        shadow.follow()
        assert "does not answer" in keeper.problem
        assert "does not answer" in shadow.problem
        one_frame(keeper, shadow)
        shadow.write()  # Arrives, though nobody says so.
        one_frame(keeper, shadow)

        down.clear()
        keeper.refresh()
        shadow.follow()
        shadow.write()
        assert (keeper.problem, shadow.problem) == ("", "")
        assert store.shadow(FAMILY, "2", "1").total.frames == 3


def register_both(store: ArtefactStore, folder: Path) -> None:
    """Stable is version 1, the candidate version 2."""
    for number, channel in enumerate(("stable", "candidate"), 1):
        files = folder / f"version-{number}"
        manifest = tiny_model(files, str(number), seed=number)
        store.register(manifest, {name: files / name for name in manifest.files})
        store.point(FAMILY, channel, str(number), principal="tests", reason="a test", expected=None)


def one_frame(keeper: ModelKeeper, shadow: Shadow) -> None:
    """Stable answers a frame, and the candidate after it."""
    stable = keeper.current
    assert stable is not None
    frame = lattice_frame(1, SHAPE)
    answers = stable.predict([frame], [0.1])
    assert len(answers[0].columns) > 20
    shadow.offer(stable, [frame], [UNKNOWN], answers)
    sample = shadow.next(idle=True)
    assert sample is not None
    shadow.compare(sample)
