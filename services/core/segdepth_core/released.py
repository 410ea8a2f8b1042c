"""Where the released models lie: they travel with this package."""

import os
from pathlib import Path


def released_store() -> Path:
    """Folder of the store to use where none is named: SEGDEPTH_STORE, else the released model that ships with SegDepth.

    Raises FileNotFoundError where neither is there.
    """
    if named := os.environ.get("SEGDEPTH_STORE"):
        return Path(named)
    here = Path(__file__).parent
    for folder in (here.parents[2] / "training" / "released", here / "released"):
        if (folder / "models").is_dir():
            return folder
    raise FileNotFoundError("no released model ships with this installation; name a store, or set SEGDEPTH_STORE")
