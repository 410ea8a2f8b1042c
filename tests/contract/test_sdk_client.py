"""The client without asyncio is what the one with generates."""

import importlib.util
from pathlib import Path

SDK = Path(__file__).parents[2] / "clients" / "python"


def test_the_committed_client_is_what_is_generated(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_client", SDK / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.generate(tmp_path / "client.py")
    generated = (tmp_path / "client.py").read_text()
    assert (SDK / "segdepth" / "client.py").read_text() == generated, "run `make client`"
    assert "await" not in generated
