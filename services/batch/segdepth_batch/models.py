"""Which store the models of jobs come from."""

import os

from segdepth_batch.settings import BatchSettings


def with_models(settings: BatchSettings, named: str | None = None) -> BatchSettings:
    """The settings with a store: `named`, else their own, else SEGDEPTH_STORE_URL, else what local mode takes."""
    from segdepth_core.released import released_store

    store = named or settings.models or os.environ.get("SEGDEPTH_STORE_URL") or str(released_store())
    return settings.model_copy(update={"models": store})
