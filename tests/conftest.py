"""What every test finds: no setting of the developer's own shell, no screen, no word to the outside.

And the pieces of work that pytest-xdist deals out to the cores.
"""

import os
import secrets

import pytest

# Before anything imports Ray: a private token in the environment, or Ray writes one under HOME.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Ray on loopback alone, as the stack has it.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["MPLBACKEND"] = "Agg"
OWN = {"SEGDEPTH_MINIO"}
"""Variables that the tests themselves read."""
for name in [name for name in os.environ if name.startswith("SEGDEPTH_")] + ["RAY_ADDRESS"]:
    if name not in OWN:
        os.environ.pop(name, None)
# pytest-xdist has a worker for each core; a second thread would only be in another worker's way.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["tests.s3"]


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A piece of work is a file, or a package, whose files share fixtures; what may take longest is begun first."""
    if not hasattr(config, "workerinput"):
        return
    limit_s: dict[str, float] = {}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(piece(item)))
        mark = item.get_closest_marker("timeout")
        limit_s[piece(item)] = max(limit_s.get(piece(item), 0.0), mark.args[0] if mark else 0.0)
    items.sort(key=lambda item: limit_s[piece(item)], reverse=True)


def piece(item: pytest.Item) -> str:
    """Path of the file or package."""
    package = item.path.parent
    return str(package if (package / "__init__.py").exists() else item.path)
