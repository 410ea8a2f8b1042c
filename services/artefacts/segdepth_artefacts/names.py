"""Names that are safe as one part of a path or of an object's key."""

import re

from segdepth_artefacts.errors import InvalidName

MANIFEST = "manifest.json"
REPORT = "report.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_name(name: str) -> bool:
    """Whether this can be one part of a path, and is not hidden."""
    return _NAME.fullmatch(name) is not None


def check(kind: str, name: str) -> str:
    """The name itself. InvalidName for anything that could leave its folder; `kind` (family, version, ...) names it."""
    if not is_name(name):
        raise InvalidName(
            f"{name[:200]!r} is not a {kind} name",
            "use up to 128 letters, digits, dots, hyphens and underscores, the first a letter or digit",
        )
    return name


def version_folder(family: str, version: str) -> str:
    """Key of a version's folder."""
    return f"models/{check('family', family)}/{check('version', version)}"


def channel_key(family: str, channel: str) -> str:
    """Key of a channel's pointer."""
    return f"channels/{check('family', family)}/{check('channel', channel)}.json"


def lease_key(name: str) -> str:
    """Key of a lease."""
    return f"leases/{check('lease', name)}.json"
