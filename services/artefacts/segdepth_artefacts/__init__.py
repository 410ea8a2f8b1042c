"""Model artefacts of SegDepth: immutable versions and channels, in a folder or any S3."""

from segdepth_artefacts import errors
from segdepth_artefacts.channels import Channel, ChannelChange
from segdepth_artefacts.manifest import Manifest
from segdepth_artefacts.settings import StoreSettings
from segdepth_artefacts.store import ArtefactStore, open_store

__all__ = ["open_store", "ArtefactStore", "StoreSettings", "Channel", "ChannelChange", "Manifest", "errors"]
