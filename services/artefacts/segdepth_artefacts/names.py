"""Names that are safe as one part of a path or of an object's key."""

import re

from segdepth_artefacts.errors import InvalidName

MANIFEST = "manifest.json"
REPORT = "report.json"

LONGEST = 128
"""Characters of a name."""

PROFILE = r"[a-z0-9][a-z0-9-]*"
"""What an instrument's profile may be called."""

FAMILY = rf"^[a-z0-9][a-z0-9.-]*(@{PROFILE})?$"
"""What a family of models may be called: `ceo2-110`, and `ceo2-110@titan` where it is adapted to the profile titan."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_name(name: str) -> bool:
    """Whether this can be one part of a path, and is not hidden."""
    return _NAME.fullmatch(name) is not None


def is_family(name: str) -> bool:
    """Whether this can be a family's part of a path: a name, and perhaps the profile that it is adapted to."""
    _, at, profile = name.partition("@")
    adapted = not at or re.fullmatch(PROFILE, profile) is not None
    return is_name(base_family(name)) and adapted and len(name) <= LONGEST


def base_family(family: str) -> str:
    """The family that one for an instrument (`ceo2-110@titan`) was adapted from; any other itself."""
    return family.partition("@")[0]


def check(kind: str, name: str) -> str:
    """The name itself. InvalidName for anything that could leave its folder; `kind` (family, version, ...) names it."""
    if not is_name(name):
        raise InvalidName(
            f"{name[:200]!r} is not a {kind} name",
            f"use up to {LONGEST} letters, digits, dots, hyphens and underscores, the first a letter or digit",
        )
    return name


def check_family(name: str) -> str:
    """The name itself. InvalidName for anything that could leave its folder."""
    if not is_family(name):
        raise InvalidName(
            f"{name[:200]!r} is not a family name",
            f"use up to {LONGEST} letters, digits, dots, hyphens and underscores, the first a letter or digit; of one"
            " that is adapted to an instrument then @ and its profile's name",
        )
    return name


def version_folder(family: str, version: str) -> str:
    """Key of a version's folder."""
    return f"models/{check_family(family)}/{check('version', version)}"


def channel_key(family: str, channel: str) -> str:
    """Key of a channel's pointer."""
    return f"channels/{check_family(family)}/{check('channel', channel)}.json"


def lease_key(name: str) -> str:
    """Key of a lease. Its name may be made of a family's."""
    return f"leases/{name if is_family(name) else check('lease', name)}.json"
