"""Every test here that asks for a `place` runs on each kind of store."""

import uuid
from pathlib import Path

import pytest

from segdepth_artefacts import ArtefactStore, StoreSettings
from tests.contract.artefacts.places import Bucket, Place
from tests.s3 import BUCKETS


@pytest.fixture(params=["folder", *BUCKETS])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Place(str(tmp_path / "store"), StoreSettings())
    server = request.getfixturevalue(request.param)
    return Bucket(f"s3://{server.new_bucket()}/some/{uuid.uuid4().hex[:8]}", server.settings(), server)


@pytest.fixture
def store(place: Place) -> ArtefactStore:
    return place.open()
