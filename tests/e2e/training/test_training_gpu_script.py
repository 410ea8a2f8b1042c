"""The script that trains on a GPU, with tiny sizes and without one: to the end, and from its checkpoint elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SMALLER = {
    "train_specimens = 12": "train_specimens = 4",
    "foreign_specimens = 12": "foreign_specimens = 4",
    "cell_A = 28.8": "cell_A = 24.0",
    "field_px = 128": "field_px = 104\nworkers = 0",
    "steps = 160": "steps = 20",
    "widths = [16, 24, 32], decoder_blocks = [1, 1]": "widths = [8, 12], decoder_blocks = [1]",
}


def call(folder: Path, **settings: str | Path) -> str:
    program = Path(sys.executable).parent / "segdepth-train"
    environment = os.environ | {name: str(value) for name, value in settings.items()} | {"SEGDEPTH_TRAIN": str(program)}
    done = subprocess.run(
        [ROOT / "training" / "gpu" / "run"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_goes_on_from_the_checkpoint_it_left(tmp_path: Path):
    text = (ROOT / "training" / "recipes" / "smoke.toml").read_text()
    for before, after in SMALLER.items():
        assert before in text
        text = text.replace(before, after)
    (tmp_path / "tiny.toml").write_text(text)
    settings = {"RECIPE": tmp_path / "tiny.toml", "RUN_ID": "tiny", "MINUTES": "9"}

    said = call(tmp_path, WORK=tmp_path / "here", OUT=tmp_path / "out", **settings)
    assert "trained: " in said
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"checkpoint.part.00", "manifest.json", "weights.safetensors"}

    there = call(tmp_path, WORK=tmp_path / "there", FROM=tmp_path / "out", **settings)
    assert "trained: " in there
    assert "step" not in there, "it trained again what the checkpoint had done"
    weights = [(tmp_path / name / "model" / "weights.safetensors").read_bytes() for name in ("here", "there")]
    assert weights[0] == weights[1]
