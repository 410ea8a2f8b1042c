"""Write the Python code of the protos into segdepth_protos/v1.

    python protos/generate.py [--out DIR]

`tests/contract/test_protos.py` proves that what is committed is what this writes.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

HERE = Path(__file__).parent


def generate(out: Path) -> None:
    """Generate messages, services and their type stubs into the folder `out`."""
    sources = sorted(str(p.relative_to(HERE)) for p in HERE.glob("segdepth/v1/*.proto"))
    scripts = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc"),
                f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
                f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
                *(f"-I{HERE}", f"-I{files('grpc_tools') / '_proto'}"),
                *(f"--{kind}_out={scratch}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")),
                *sources,
            ],
            check=True,
            cwd=HERE,
        )
        out.mkdir(parents=True, exist_ok=True)
        for path in sorted(Path(scratch, "segdepth/v1").iterdir()):
            (out / path.name).write_text(in_our_package(path.read_text()))
        (out / "__init__.py").write_text('"""Generated from protos/segdepth/v1 by protos/generate.py."""\n')


def in_our_package(code: str) -> str:
    """Import from segdepth_protos.v1: `segdepth` is the name of the SDK."""
    code = re.sub(r"\bfrom segdepth\.v1 import", "from segdepth_protos.v1 import", code)
    return re.sub(r"\bimport segdepth\.v1\.", "import segdepth_protos.v1.", code).replace(
        " segdepth.v1.frame_pb2", " segdepth_protos.v1.frame_pb2"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "segdepth_protos" / "v1")
    generate(parser.parse_args().out)
