"""Which s3:// addresses a principal may name. Compared part by part: nothing is decoded, joined or resolved."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from segdepth_api.problems import Problem
from segdepth_artefacts import names

S3 = "s3://"

_FORBIDDEN = frozenset("%?#\\\"'*<>|")
_OWN = ("jobs/", "owners/", "uploads/")
"""Of the store of jobs: only the api and the jobs themselves go there."""


class Allowed:
    """The rules: principal patterns to prefixes with a {principal} in them, and the store that nobody may name."""

    def __init__(self, rules: Mapping[str, Sequence[str]], store: str):
        self._rules = rules
        self._own = tuple(f"{store.rstrip('/')}/{folder}" for folder in _OWN)

    def prefixes(self, principal: str) -> list[str]:
        """What the principal may name, sorted."""
        found = {
            prefix.replace("{principal}", principal)
            for pattern, prefixes in self._rules.items()
            if fnmatchcase(principal, pattern)
            for prefix in prefixes
            if "{principal}" not in prefix or names.is_name(principal)
        }
        return sorted(found)

    def check(self, address: str, principal: str, field: str) -> str:
        """The address itself. Problem 422 for what is no plain address, 403 for one that is another's."""
        why = _flaw(address)
        if why:
            raise Problem(422, "invalid-address", f"{address[:200]!r}: {why}", field=field)
        permitted = self.prefixes(principal)
        inside = any(address.startswith(prefix) for prefix in permitted)
        if not inside or any(f"{address}/".startswith(own) for own in self._own):
            there = ", ".join(permitted) or "nothing in S3: send files with `segdepth batch submit FILES`"
            raise Problem(403, "not-permitted", f"{address}: {principal} may name {there}", field=field)
        return address


def _flaw(address: str) -> str:
    """What keeps an address from being a plain one; empty if nothing does."""
    if not address.startswith(S3):
        return "give s3://bucket/folder/ or an upload"
    bucket, slash, key = address.removeprefix(S3).partition("/")
    if not names.is_name(bucket) or not slash:
        return "give s3://bucket/folder/"
    if any(character in _FORBIDDEN or not character.isprintable() for character in key):
        return "signs that need an encoding, and wildcards, have no place in it"
    parts = key.removesuffix("/").split("/") if key else []
    if any(part == "" or part[0] == "." for part in parts):
        return "no part of it may be empty or begin with a dot"
    return ""
