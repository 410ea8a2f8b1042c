"""Places where a store can be, and versions to put there."""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from segdepth_artefacts import ArtefactStore, Manifest, StoreSettings, open_store
from tests.s3 import S3Server

FAMILY = "ceo2-110"


@dataclass(frozen=True)
class Place:
    """A place for one store, and ways to look and to do harm behind its back."""

    url: str
    settings: StoreSettings

    def open(self) -> ArtefactStore:
        return open_store(self.url, self.settings)

    def put(self, key: str, data: bytes) -> None:
        path = Path(self.url) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get(self, key: str) -> bytes:
        return (Path(self.url) / key).read_bytes()

    def remove(self, key: str) -> None:
        (Path(self.url) / key).unlink()


@dataclass(frozen=True)
class Bucket(Place):
    """A place below a prefix of a bucket."""

    server: S3Server

    def put(self, key: str, data: bytes) -> None:
        bucket, key = self._at(key)
        url = self.server.client().get_presigned_url("PUT", bucket, key)
        assert self.server.client()._http.request("PUT", url, body=data).status == 200

    def get(self, key: str) -> bytes:
        return self.server.client().get_object(*self._at(key)).read()

    def remove(self, key: str) -> None:
        self.server.client().remove_object(*self._at(key))

    def _at(self, key: str) -> tuple[str, str]:
        bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        return bucket, f"{prefix}/{key}"


@dataclass(frozen=True)
class Version:
    """A version that can be registered. Its weights are random bytes: the store never looks into them."""

    manifest: Manifest
    files: Mapping[str, Path]

    @property
    def folder(self) -> str:
        return f"models/{self.manifest.family}/{self.manifest.version}"


def make_version(
    folder: Path,
    version: str = "1.0",
    *,
    family: str = FAMILY,
    seed: int = 1,
    weights_bytes: int = 70_000,
    day: int = 0,
) -> Version:
    """Files in a new folder below `folder`, and their manifest. The seed decides the content."""
    folder = folder / f"{family}-{version}-{seed}"
    folder.mkdir(parents=True)
    contents = {
        "weights.safetensors": random.Random(seed).randbytes(weights_bytes),
        "report.json": f'{{"seed": {seed}}}'.encode(),
        "card.md": b"# A model\n",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    described = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name, content in contents.items()
    }
    table = {"dose": (50.0, 2000.0), "temperature": (1.0, 0.7)}
    manifest = Manifest.model_validate(
        {
            "family": family,
            "version": version,
            "created": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day),
            "code_version": "0.1.0",
            "files": described,
            "network": {"kind": "unet", "arguments": {"channels": [32, 64]}},
            "canonical_sampling_A": 0.2,
            "domain": {"description": "CeO2 [110]", "checks": {"sampling": {"lower": 0.05, "upper": 0.25}}},
            "calibration": {"pixel": table, "column": table, "species": table, "abstain_below": 0.5},
            "engines": [{"name": "torch-fp32", "counts_equal": 1.0, "ece_difference": 0.0}],
            "recipe": {"name": "test"},
            "seeds": {"train": seed},
        }
    )
    return Version(manifest, {name: folder / name for name in contents})
