"""Versions are immutable, verified, and visible whole or not at all."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from segdepth_artefacts import ArtefactStore, errors
from tests.contract.artefacts.places import FAMILY, Place, make_version


def test_a_registered_version_comes_back_as_it_went_in(store: ArtefactStore, tmp_path: Path) -> None:
    version = make_version(tmp_path)
    store.register(version.manifest, version.files)

    assert store.manifest(FAMILY, "1.0") == version.manifest
    folder = store.fetch(FAMILY, "1.0", tmp_path / "cache")
    assert {path.name for path in folder.iterdir()} == {*version.files, "manifest.json"}
    for name, path in version.files.items():
        assert (folder / name).read_bytes() == path.read_bytes()


def test_another_process_sees_it_in_the_documented_place(place: Place, tmp_path: Path) -> None:
    version = make_version(tmp_path)
    place.open().register(version.manifest, version.files)

    for name, path in version.files.items():
        assert place.get(f"models/{FAMILY}/1.0/{name}") == path.read_bytes()
    assert place.open().versions(FAMILY) == ["1.0"]


def test_versions_are_listed_newest_first(store: ArtefactStore, tmp_path: Path) -> None:
    for version, day in (("b", 2), ("c", 1), ("a", 3)):
        made = make_version(tmp_path, version, day=day)
        store.register(made.manifest, made.files)

    assert store.versions(FAMILY) == ["a", "b", "c"]
    assert store.families() == [FAMILY]


def test_an_empty_store_is_empty(store: ArtefactStore) -> None:
    assert store.families() == []
    assert store.versions(FAMILY) == []
    with pytest.raises(errors.UnknownVersion, match="register a model first"):
        store.default_family()


def test_the_default_family_is_the_only_one_or_the_settings(store: ArtefactStore, tmp_path: Path) -> None:
    for family, expected in (("pt-111", "pt-111"), ("ceo2-110", "ceo2-110")):
        made = make_version(tmp_path, family=family)
        store.register(made.manifest, made.files)
        assert store.default_family() == expected


def test_a_family_adapted_to_an_instrument_is_one_as_any(place: Place, tmp_path: Path) -> None:
    store, family = place.open(), f"{FAMILY}@titan-2"
    made = make_version(tmp_path, family=family)
    store.register(made.manifest, made.files)
    assert place.get(f"models/{family}/1.0/report.json") == made.files["report.json"].read_bytes()
    assert store.default_family() == family

    other = make_version(tmp_path)
    store.register(other.manifest, other.files)
    assert store.families() == [FAMILY, family]
    assert store.versions(family) == ["1.0"]
    assert store.default_family() == FAMILY
    pointed = store.point(family, "stable", "1.0", principal="ann", reason="a test", expected=None)
    assert place.open().channel(family, "stable") == pointed
    assert store.channel(FAMILY, "stable") is None
    assert (store.fetch(family, "1.0", tmp_path / "cache") / "manifest.json").is_file()
    assert store.shadow(family, "2.0", "1.0").total.frames == 0
    with store.lease(f"training-{family}", "ann", ttl_s=60), store.lease(f"training-{FAMILY}", "bob", ttl_s=60) as own:
        own.confirm()


@pytest.mark.parametrize(
    "family", ["@titan", "ceo2@", "ceo2@a@b", "ceo2@.a", "ceo2@a/b", "ceo2@Titan", "c" * 99 + "@" + "t" * 29]
)
def test_what_is_no_familys_name_is_refused(store: ArtefactStore, family: str) -> None:
    with pytest.raises(errors.InvalidName, match=r"no.* a family name.*@ and its profile's name"):
        store.versions(family)


def test_registering_the_same_again_changes_nothing(place: Place, tmp_path: Path) -> None:
    version = make_version(tmp_path)
    store = place.open()
    store.register(version.manifest, version.files)
    before = place.get(f"{version.folder}/manifest.json")

    store.register(version.manifest, version.files)
    place.open().register(version.manifest, version.files)

    assert place.get(f"{version.folder}/manifest.json") == before


def test_other_content_under_a_taken_name_is_refused(store: ArtefactStore, tmp_path: Path) -> None:
    first, second = make_version(tmp_path, seed=1), make_version(tmp_path, seed=2)
    store.register(first.manifest, first.files)

    with pytest.raises(errors.VersionExists, match="another version"):
        store.register(second.manifest, second.files)

    folder = store.fetch(FAMILY, "1.0", tmp_path / "cache")
    assert (folder / "weights.safetensors").read_bytes() == first.files["weights.safetensors"].read_bytes()


def test_of_two_who_register_different_content_at_once_one_wins_and_is_whole(place: Place, tmp_path: Path) -> None:
    rivals = [make_version(tmp_path, seed=seed) for seed in range(4)]

    def register(seed: int) -> bool:
        try:
            place.open().register(rivals[seed].manifest, rivals[seed].files)
        except errors.VersionExists:
            return False
        return True

    with ThreadPoolExecutor(len(rivals)) as threads:
        won = list(threads.map(register, range(len(rivals))))

    assert won.count(True) == 1
    winner = rivals[won.index(True)]
    assert place.open().manifest(FAMILY, "1.0") == winner.manifest
    folder = place.open().fetch(FAMILY, "1.0", tmp_path / "cache")
    for name, path in winner.files.items():
        assert (folder / name).read_bytes() == path.read_bytes()


def test_files_that_are_not_the_manifests_are_refused(store: ArtefactStore, tmp_path: Path) -> None:
    version = make_version(tmp_path)
    without_card = {name: path for name, path in version.files.items() if name != "card.md"}
    with pytest.raises(errors.InvalidRegistration, match=r"missing \['card.md'\]"):
        store.register(version.manifest, without_card)
    with pytest.raises(errors.InvalidRegistration, match=r"not in it \['more.txt'\]"):
        store.register(version.manifest, {**version.files, "more.txt": version.files["card.md"]})
    with pytest.raises(errors.InvalidRegistration, match="not a file"):
        store.register(version.manifest, {**version.files, "card.md": tmp_path / "absent"})

    version.files["report.json"].write_bytes(b'{"seed": 9}')
    with pytest.raises(errors.InvalidRegistration, match=r"report\.json is changed"):
        store.register(version.manifest, version.files)

    assert store.versions(FAMILY) == []


@pytest.mark.parametrize("family, version", [(FAMILY, "2.0"), ("pt-111", "1.0")])
def test_unknown_versions_are_named_with_what_there_is(
    store: ArtefactStore, tmp_path: Path, family: str, version: str
) -> None:
    made = make_version(tmp_path)
    store.register(made.manifest, made.files)

    named = r"registered .*: (1\.0|ceo2-110)"
    with pytest.raises(errors.UnknownVersion, match=named):
        store.manifest(family, version)
    with pytest.raises(errors.UnknownVersion, match=named):
        store.fetch(family, version, tmp_path / "cache")
    assert not (tmp_path / "cache" / family / version).exists()


@pytest.mark.parametrize("name", ["..", "../up", "a/b", "/etc", "", ".hidden", "a\\b", "a\n", "a" * 129, "%2e%2e", "ä"])
def test_names_that_are_paths_are_refused_everywhere(store: ArtefactStore, tmp_path: Path, name: str) -> None:
    version = make_version(tmp_path)
    store.register(version.manifest, version.files)
    file = version.manifest.files["card.md"]
    hostile = version.manifest.model_copy(update={"version": "2.0", "files": {name: file}})
    unchecked = version.manifest.model_copy(update={"version": name})

    for call in (
        lambda: store.manifest(name, "1.0"),
        lambda: store.manifest(FAMILY, name),
        lambda: store.fetch(FAMILY, name, tmp_path / "cache"),
        lambda: store.fetch(name, "1.0", tmp_path / "cache"),
        lambda: store.versions(name),
        lambda: store.channel(name, "stable"),
        lambda: store.channel(FAMILY, name),
        lambda: store.point(FAMILY, name, "1.0", principal="me", reason="", expected=None),
        lambda: store.point(FAMILY, "stable", name, principal="me", reason="", expected=None),
        lambda: store.register(hostile, {name: version.files["card.md"]}),
        lambda: store.register(unchecked, version.files),
    ):
        with pytest.raises(errors.InvalidName):
            call()
    assert store.versions(FAMILY) == ["1.0"]


def test_a_stored_manifest_cannot_make_fetch_leave_its_folder(place: Place, tmp_path: Path) -> None:
    version = make_version(tmp_path)
    files = {"../../../escaped": version.manifest.files["card.md"]}
    hostile = version.manifest.model_copy(update={"files": files})
    place.put(f"{version.folder}/manifest.json", hostile.model_dump_json().encode())

    with pytest.raises(errors.CorruptArtefact, match="escaped"):
        place.open().fetch(FAMILY, "1.0", tmp_path / "a" / "b" / "cache")
    assert not list(tmp_path.rglob("escaped"))
