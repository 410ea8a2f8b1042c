"""The batch jobs of an api, as its settings describe them."""

from segdepth_api.batch.allowed import Allowed
from segdepth_api.batch.cluster import ClusterRunner
from segdepth_api.batch.jobs import BatchJobs
from segdepth_api.batch.local import LocalRunner
from segdepth_api.batch.runners import Runner
from segdepth_api.kubernetes import RayJobs
from segdepth_api.settings import ApiSettings
from segdepth_artefacts.open_objects import open_objects
from segdepth_artefacts.settings import StoreSettings


def open_jobs(settings: ApiSettings) -> BatchJobs | None:
    """The jobs, None where there is no store for them. InvalidName for a store that is none."""
    if not settings.batch_store:
        return None
    store = settings.batch_store
    objects = open_objects(store, StoreSettings())
    allowed = Allowed(settings.batch_prefixes, store)

    async def unfinished() -> list[str]:
        return await jobs.unfinished()

    runner: Runner
    if settings.batch_template is not None:
        rayjobs = RayJobs(settings.batch_account, settings.batch_kubernetes or None)
        runner = ClusterRunner(settings.batch_template, settings.batch_priority_classes, rayjobs)
    else:
        runner = LocalRunner(store, settings.batch_models, settings.batch_max_waiting, unfinished)
    jobs = BatchJobs(objects, store, allowed, runner, settings.batch_max_jobs)
    return jobs
