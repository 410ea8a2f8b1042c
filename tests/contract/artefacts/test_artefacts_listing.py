"""Listing objects: everything below a folder, and nothing of a neighbour whose name begins alike."""

from segdepth_artefacts.open_objects import open_objects
from tests.contract.artefacts.places import Place

OBJECTS = ("data/alice/a.mrc", "data/alice/sub/b.mrc", "data/alice-evil/c.mrc", "data/alice.mrc", "data/.hidden/d.mrc")


def test_below_a_folder_and_nothing_beside_it(place: Place) -> None:
    objects = open_objects(place.url, place.settings)
    for key in OBJECTS:
        place.put(key, key.encode())

    def keys(prefix: str) -> list[str]:
        return [entry.key for entry in objects.entries(prefix)]

    assert keys("data/alice") == ["data/alice/a.mrc", "data/alice/sub/b.mrc"]
    assert keys("data/alice.mrc") == ["data/alice.mrc"]
    assert keys("data/alic") == []
    assert keys("nothing") == []
    assert keys("") == sorted(key for key in OBJECTS if "hidden" not in key)


def test_sizes_are_true_and_a_tag_changes_with_the_content(place: Place) -> None:
    objects = open_objects(place.url, place.settings)
    place.put("a.mrc", b"12345")
    (before,) = objects.entries("a.mrc")
    assert before.size_bytes == 5
    place.put("a.mrc", b"123456")
    (after,) = objects.entries("a.mrc")
    assert after.tag != before.tag
