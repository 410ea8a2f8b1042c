"""A private Ray that does not start: tried again, then said, and nothing of it stays."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
import psutil
from segdepth_batch import cluster
from segdepth_batch.errors import RayNotStarted
from segdepth_batch.settings import BatchSettings

settings = BatchSettings()
cluster.os.environ.update(cluster._environment(settings))
try:
    cluster._start(settings, Path(sys.argv[1]))
except RayNotStarted as error:
    print(f"{len(psutil.Process().children(recursive=True))} children; {error}")
"""


def test_a_ray_that_does_not_start_is_tried_again_and_leaves_nothing(tmp_path: Path) -> None:
    # Paths of Unix sockets have 107 characters at most, so no try can succeed.
    folder = tmp_path / ("x" * 108)
    ran = subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, timeout=120)
    assert ran.stdout.count("stamina.retry_scheduled") == 3, ran.stderr
    last = ran.stdout.splitlines()[-1]
    assert last.startswith("0 children; Ray did not start on this machine (")
    assert last.endswith("try again when it is less busy")
