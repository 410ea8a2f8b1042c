"""Write the SDK's client without asyncio, from the one with: every method stands once, in async_client.py.

    python clients/python/generate.py [--out FILE]

What async_client.py itself defines is called as it is; what it awaits of others runs in the background loop.
`tests/contract/test_sdk_client.py` proves that what is committed is what this writes.
"""

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent / "segdepth"
SOURCE, TARGET = PACKAGE / "async_client.py", PACKAGE / "client.py"

DOCSTRING = "The client without asyncio. Generated from async_client.py by clients/python/generate.py: `make client`."

WORDS = {
    "AsyncClient": "Client",
    "AsyncStream": "Stream",
    "AsyncIterable": "Iterable",
    "AsyncIterator": "Iterator",
    "StopAsyncIteration": "StopIteration",
    "__anext__": "__next__",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "connect_async": "connect",
    "async with": "with",
}

Edit = tuple[int, int, bytes]
"""From which byte to which, and what stands there instead."""


def generate(out: Path) -> None:
    """Write the client without asyncio to the file `out`."""
    source = SOURCE.read_text()
    module = ast.parse(source)
    code = source.encode()
    for begin, end, instead in sorted(edits(module, code), reverse=True):
        code = code[:begin] + instead + code[end:]
    text = code.decode().replace(ast.get_docstring(module) or "", DOCSTRING, 1)
    text = re.sub(r"^from segdepth\.", r"from segdepth import background\n\g<0>", text, count=1, flags=re.MULTILINE)
    text = re.sub(rf"\b({'|'.join(WORDS)})\b", lambda word: WORDS[word[0]], text)
    out.write_text(formatted(text))


def edits(module: ast.Module, code: bytes) -> Iterator[Edit]:
    """What makes the code one that waits instead of awaiting."""
    line_starts = [0, *(place + 1 for place, byte in enumerate(code) if byte == ord("\n"))]
    own = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in ast.walk(module):
        match node:
            case ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith():
                begin = line_starts[node.lineno - 1] + node.col_offset
                yield begin, begin + len(b"async "), b""
            case ast.Await(value=ast.Call(func=ast.Attribute(value=ast.Name("self"), attr=name))) if name in own:
                begin = line_starts[node.lineno - 1] + node.col_offset
                yield begin, begin + len(b"await "), b""
            case ast.Await(end_lineno=int(end_line), end_col_offset=int(end_column)):
                begin, end = line_starts[node.lineno - 1] + node.col_offset, line_starts[end_line - 1] + end_column
                yield begin, begin + len(b"await "), b"background.run("
                yield end, end, b")"


def formatted(text: str) -> str:
    """As `make format` leaves it."""
    ruff = [str(Path(sys.executable).parent / "ruff"), "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET)
    generate(parser.parse_args().out)
