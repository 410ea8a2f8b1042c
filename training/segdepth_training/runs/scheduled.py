"""A run that nobody watches: under a lease, from simulation to a candidate, wherever it was killed before."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from segdepth_artefacts import ArtefactStore, open_store
from segdepth_artefacts.channels import STABLE
from segdepth_artefacts.errors import LeaseHeld
from segdepth_artefacts.lease import Lease
from segdepth_training.machine import cluster
from segdepth_training.machine.progress import say
from segdepth_training.machine.settings import TrainingSettings
from segdepth_training.runs import steps
from segdepth_training.runs.workspace import Workspace


@contextmanager
def tenure(store: ArtefactStore, family: str, run_id: str, ttl_s: float) -> Iterator[Lease]:
    """The lease under which one run of a family trains: two ticks, or two clusters, never train at once.

    Raises LeaseHeld where another run has it. What an earlier driver of the same run left, killed, is waited for; it
    ends in `ttl_s` at most. LeaseLost, from wherever the block is, when this driver was too slow to renew it.
    """
    lease = store.lease(f"training-{family}", run_id, ttl_s=ttl_s, on_lost=_interrupt)
    end = time.monotonic() + 1.5 * ttl_s
    while True:
        try:
            lease.acquire()
            break
        except LeaseHeld as held:
            left_s = (held.expires - datetime.now(UTC)).total_seconds()
            if held.holder != run_id or time.monotonic() + max(0.0, left_s) > end:
                raise
            say(f"an earlier driver of {run_id} holds the lease for {max(0.0, left_s):.0f} s more: waiting")
            time.sleep(max(0.5, left_s))
    try:
        with _interruptible():
            yield lease
    except (KeyboardInterrupt, SystemExit):
        if lease.lost:
            lease.confirm()  # Says so.
        raise
    finally:
        lease.release()


def _interrupt() -> None:
    """End the main thread's work as Ctrl-C does: Ray Train then stops its workers."""
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT ends the work, also of a process that a shell began in its background, where it is ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_to_candidate(
    workspace: Workspace, lease: Lease, store: str, settings: TrainingSettings, processes: int
) -> None:
    """Every step that is not done yet, then the candidate, and `stable` where that is wanted and the gates allow it."""
    steps.check_start(workspace, store)
    steps.simulate_all(workspace, processes)
    lease.confirm()
    steps.train_model(workspace, store)
    lease.confirm()
    if not steps.is_calibrated(workspace):
        cluster.on_worker(steps.calibrate_model, workspace)
        lease.confirm()
    if not compared_with_present(workspace, store):
        cluster.on_worker(steps.evaluate_model, workspace, store)
    lease.confirm()
    offer_model(workspace, store, settings)


def compared_with_present(workspace: Workspace, store: str) -> bool:
    """Whether there is a report, and it compares with what is stable now; a registered model's report stays."""
    report = steps.read_report(workspace)
    if report is None:
        return False
    artefacts, family = open_store(store), workspace.recipe.family
    if report["version"] in artefacts.versions(family):
        return True
    channel = artefacts.channel(family, STABLE)
    compared = report["paired"]["stable"] if report["paired"] else None
    return compared == (channel.version if channel else None)


def offer_model(workspace: Workspace, store: str, settings: TrainingSettings) -> None:
    """Register the model as candidate, and promote it where that is wanted and nothing speaks against it."""
    from segdepth_training.runs.release import offer, promote

    report = steps.read_report(workspace)
    assert report is not None, "it was evaluated"
    artefacts = open_store(store)
    principal, run_id = settings.principal, workspace.run_id
    with workspace.model.files() as folder:
        manifest = offer(folder, artefacts, report, run_id=run_id, principal=principal)
    family, version = manifest.family, manifest.version
    say(f"{family} {version} is registered in {artefacts.url} as candidate")
    for missed in report["missed"]:
        say(f"- its recipe's own gate: {missed}")
    if settings.promote_automatically:
        refused = promote(artefacts, family, version, settings.gates, run_id=run_id, principal=principal)
        say(f"{version} is not promoted:" if refused else f"{version} is stable")
        for reason in refused:
            say(f"- {reason}")
