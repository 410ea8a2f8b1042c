"""Training, in this process or on Ray: the one way in."""

from segdepth_training.fitting.loop import Progress, Run, begun, fast_device, loop
from segdepth_training.fitting.optimisation import CHECKPOINT
from segdepth_training.machine.storage import Storage


def train(run: Run, progress: Progress) -> Storage:
    """Train in this process (recipe.training.workers = 0) or on Ray; returns the last checkpoint's place.

    A run that was killed goes on from its last checkpoint; a finished run returns at once.
    """
    if run.recipe.training.workers:
        from segdepth_training.machine import cluster

        cluster.connect()  # Before Ray is imported: it reads its environment then.
        from segdepth_training.fitting.ray_train import train_on_ray

        return train_on_ray(run, progress)
    optimisation = begun(run, fast_device())
    storage = run.storage / "checkpoint"
    with storage.files() as folder:
        if (folder / CHECKPOINT).exists():
            optimisation.restore(folder)

    def keep(_metrics: dict[str, float]) -> None:
        with storage.files() as folder:
            optimisation.save(folder)

    loop(run, optimisation, 0, keep, progress)
    return storage
