"""A folder that is watched, in this process, against the server of a plan; and movies that grow in it.

The server's column of a frame stands at the frame's sum modulo 1000: results tell by themselves of which they are.
"""

import csv
import json
import threading
import time
from pathlib import Path

import mrcfile
import numpy as np

import segdepth
from segdepth.backoff import Patience
from segdepth.live.folder.watch import FolderWatch, Target

SHAPE = (16, 24)


def frames(count, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(1, 99, (count, *shape)).astype("u2")


def mrc_bytes(data, announced=None, sampling_A=0.1, folder=None):
    """An MRC file as it stands in memory; its header announces `announced` frames."""
    path = Path(folder) / ".bytes.mrc"
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = sampling_A
        mrc.header.nz = announced or len(data)
        mrc.header.cella.z = sampling_A * (announced or len(data))
        mrc.header.mz = announced or len(data)
    raw = path.read_bytes()
    path.unlink()
    return raw


def write_mrc(path, data, **how):
    """At once, as a rename does."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(mrc_bytes(data, folder=path.parent, **how))
    part.replace(path)
    return path


def sums(data):
    return [f"{float(frame.astype('f8').sum() % 1000):.3f}" for frame in data]


def table(path):
    """(frame, sum) of each row of a columns.csv."""
    with path.open() as file:
        return [(int(row["frame"]), row["x_px"]) for row in csv.DictReader(file)]


def expected(data):
    return list(enumerate(sums(data)))


def lines(path):
    """The objects of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


class Watching:
    """`FolderWatch` in a thread, until the end of the `with`, or with `once` until it ends by itself."""

    def __init__(self, server, folder, out, *, jsonl=None, patience=None, policy="block", **how):
        self.server, self.folder, self.out = server, folder, out
        self.patience, self.policy = patience or Patience(reconnection_s=1.0), policy
        self.told, self.error, self.account = [], None, None
        self.watch = FolderWatch(
            folder, Target(out, None if jsonl is None else str(jsonl)), self.told.append, **({"settle_s": 0.4} | how)
        )
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            with self.watch, self._client() as client:
                self.account = self.watch.run(client, policy=self.policy)
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def _client(self):
        return segdepth.connect(self.server.address, patience=self.patience, on_outage=self.watch.outage)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.watch.stop()
        self.join()

    def join(self):
        self._thread.join(60)
        assert not self._thread.is_alive()

    def until(self, condition, timeout_s=30.0):
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, [(told.state.value, told.name, told.detail) for told in self.told]
            assert self._thread.is_alive() or condition(), self.error
            time.sleep(0.02)

    def states(self, name):
        return [told.state.value for told in self.told if told.name == name]

    def rows(self, stem):
        path = self.out / f"{stem}.columns.csv"
        return table(path) if path.exists() else []


def watched_once(server, folder, out, **how):
    """Until all that is there is done."""
    watching = Watching(server, folder, out, once=True, **how)
    with watching:
        watching.join()
    return watching
