"""Runs in a pod: registers the very weights of `stable` under another version, and points `candidate` at it.

The same network on the same frames differs from stable by nothing, so that is what its report says of the comparison.
"""

import json
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from segdepth_artefacts import open_store
from segdepth_artefacts.manifest import File

version = sys.argv[1] if len(sys.argv) > 1 else "twin"
store = open_store(writable=True)
family = store.default_family()
stable = store.channel(family, "stable")
assert stable is not None
folder = store.fetch(family, stable.version, Path("/tmp/models"))
report = json.loads((folder / "report.json").read_text())
nothing = {"value": 0.0, "low": 0.0, "high": 0.0}
doses = {
    dose: {"difference": nothing, "ece": figures["ece"], "ece_stable": figures["ece"]}
    for dose, figures in report["families"]["all"].items()
}
report["missed"] = []
report["version"] = version
report["paired"] = {"stable": stable.version, "run_id": version, "seed": 0, "specimens": 600, "doses": doses}
(folder / "report.json").write_text(json.dumps(report))
data = (folder / "report.json").read_bytes()
manifest = store.manifest(family, stable.version)
files = {**manifest.files, "report.json": File(sha256=sha256(data).hexdigest(), size_bytes=len(data))}
manifest = manifest.model_copy(update={"version": version, "created": datetime.now(UTC), "files": files})
store.register(manifest, {name: folder / name for name in files})
now = store.channel(family, "candidate")
store.point(family, "candidate", version, principal="cluster test", reason="the same weights", expected=now)
print(f"candidate is {version}")
