"""Opening a store of objects by its address."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from segdepth_artefacts import names
from segdepth_artefacts.errors import InvalidName
from segdepth_artefacts.folder import FolderStore
from segdepth_artefacts.objects import ObjectStore
from segdepth_artefacts.s3 import S3Store
from segdepth_artefacts.settings import StoreSettings


def open_objects(url: str, settings: StoreSettings) -> ObjectStore:
    """The objects at a folder, file:///folder or s3://bucket/prefix. InvalidName for anything that is no such url."""
    if not url:
        raise InvalidName(
            "no artefact store is named", "give a folder or s3://bucket/prefix, or set SEGDEPTH_STORE_URL"
        )
    if "://" not in url:
        return FolderStore(Path(url).expanduser().absolute(), timeout_s=settings.timeout_s)
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return FolderStore(Path(unquote(parts.path)), timeout_s=settings.timeout_s)
    if parts.scheme == "s3" and parts.netloc and not (parts.query or parts.fragment or "@" in parts.netloc):
        prefix = parts.path.strip("/")
        for name in prefix.split("/") if prefix else []:
            names.check("prefix", name)
        return S3Store(parts.netloc, prefix, settings)
    raise InvalidName(f"{url!r} is no artefact store", "give a folder, file:///folder or s3://bucket/prefix")
