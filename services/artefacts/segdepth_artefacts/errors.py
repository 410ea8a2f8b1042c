"""What can go wrong with artefacts. Each error says the cause and the way out."""

from datetime import datetime


class ArtefactError(Exception):
    """Base of all. `cause` says what is wrong, `way_out` what to do about it."""

    def __init__(self, cause: str, way_out: str):
        super().__init__(cause, way_out)  # both, so that the error survives pickling between processes
        self.cause = cause
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.cause}; {self.way_out}"


class InvalidName(ArtefactError, ValueError):
    """A family, version, channel or file name that is not a plain name (a path, for instance), or a bad store URL."""


class InvalidRegistration(ArtefactError, ValueError):
    """The files offered are not the files that the manifest describes."""


class VersionExists(ArtefactError):
    """The version is registered already, with other content. Versions are immutable."""


class UnknownVersion(ArtefactError, LookupError):
    """No such family or version, or its upload was never finished."""


class CorruptArtefact(ArtefactError):
    """A stored file is missing, or is not what its manifest says."""


class ChannelConflict(ArtefactError):
    """Somebody else changed the channel meanwhile. Nothing was written."""


class LeaseHeld(ArtefactError):
    """Another holds the lease: `holder`, until `expires` unless it is renewed."""

    def __init__(self, cause: str, way_out: str, holder: str, expires: datetime):
        super().__init__(cause, way_out)
        self.args = (cause, way_out, holder, expires)
        self.holder = holder
        self.expires = expires


class LeaseLost(ArtefactError):
    """The lease was not renewed in time, or another took it over. What it protects must not be touched any more."""


class StoreUnavailable(ArtefactError):
    """The store did not answer in time, or not sensibly. The same call may succeed later."""


class StoreRefused(ArtefactError):
    """The store answered no: credentials, permissions, a bucket that is not there. Trying again will not help."""


class UnsafeEndpoint(ArtefactError):
    """The store ignores conditions on writes (or has no locks), so two writers would silently lose one's change."""


class CacheUnavailable(ArtefactError):
    """The local folder to fetch into cannot be written, is full, or another process holds it."""


class ConditionFailed(ArtefactError):
    """An object exists already, or is no longer the one it was. Inside this package; callers get the errors above."""
