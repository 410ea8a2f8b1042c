"""The wire contract: well-formed, and the committed code is what it generates."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PROTOS = Path(__file__).parents[2] / "protos"
BUF = Path(sys.executable).parent / "buf"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location("generate", PROTOS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = tmp_path_factory.mktemp("generated")
    module.generate(out)
    return out


def test_buf_finds_nothing_to_complain_about() -> None:
    done = subprocess.run([BUF, "lint"], cwd=PROTOS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_buf_reads_the_contract() -> None:
    """buf compiles every proto: lint alone is quiet about a folder without protos."""
    done = subprocess.run([BUF, "ls-files"], cwd=PROTOS, capture_output=True, text=True, check=True)
    found = {Path(line).name for line in done.stdout.split()}
    assert found == {path.name for path in PROTOS.glob("segdepth/v1/*.proto")}
    assert "estimator.proto" in found


def test_committed_code_is_what_the_protos_generate(generated: Path) -> None:
    committed = PROTOS / "segdepth_protos" / "v1"
    names = {path.name for path in generated.iterdir()}
    assert {path.name for path in committed.iterdir() if path.is_file()} == names
    stale = [name for name in sorted(names) if (committed / name).read_text() != (generated / name).read_text()]
    assert not stale, f"run `make protos`: {stale}"


def test_generated_code_never_imports_the_sdk(generated: Path) -> None:
    """`segdepth` is the SDK's package; a generated `import segdepth.v1` would find it instead of the contract."""
    for path in generated.glob("*.py*"):
        assert "import segdepth.v1" not in path.read_text(), path.name
        assert "from segdepth.v1" not in path.read_text(), path.name
