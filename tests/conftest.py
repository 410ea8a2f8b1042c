"""What every test finds: no setting of the developer's own shell, no screen, no word to the outside.

And how pytest-xdist deals them out to the cores.
"""

import os
import secrets
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]

# Before anything imports Ray: a private token in the environment, or Ray writes one under HOME.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Ray on loopback alone, as the stack has it.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["MPLBACKEND"] = "Agg"
OWN = {"SEGDEPTH_MINIO", "SEGDEPTH_MICROSCOPE_FILES"}
"""Variables that the tests themselves read."""
for name in [name for name in os.environ if name.startswith("SEGDEPTH_")] + ["RAY_ADDRESS"]:
    if name not in OWN:
        os.environ.pop(name, None)
# pytest-xdist has a worker for each core; a second thread would only be in another worker's way.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["tests.s3"]


class Pieces(LoadScopeScheduling):
    """Deals out tests file by file, or package by package: so fixtures that tests share are made once.

    Groups of pytest-xdist's own (`loadgroup`) would do, but its 3.8 names them in a way that pytest 9.2 does not see.
    """

    def _split_scope(self, nodeid: str) -> str:
        return piece(nodeid)


def piece(nodeid: str) -> str:
    """Path of a test's file, or of its package: the folder, if it has an __init__.py."""
    file = Path(nodeid.partition("::")[0])
    return str(file.parent if (ROOT / file.parent / "__init__.py").exists() else file)


def timeout_s(mark: pytest.Mark | None) -> float:
    """What a test's `timeout` mark allows [s], 0 without."""
    return float(mark.kwargs.get("timeout") or mark.args[0]) if mark else 0.0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Pieces:
    config.option.loadscopereorder = False  # in the order of collection, which follows
    return Pieces(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker: what may take longest is begun first, so that all cores have work to the end."""
    if not hasattr(config, "workerinput"):
        return
    limit_s: dict[str, float] = {}
    for item in items:
        mark = item.get_closest_marker("timeout")
        limit_s[piece(item.nodeid)] = max(limit_s.get(piece(item.nodeid), 0.0), timeout_s(mark))
    items.sort(key=lambda item: limit_s[piece(item.nodeid)], reverse=True)
