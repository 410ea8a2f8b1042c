"""The artefact store in the words of the wire. Blocking: called from threads."""

import grpc

from segdepth_artefacts import ArtefactStore, Channel, Manifest, promotion
from segdepth_artefacts import ChannelChange as StoredChange
from segdepth_artefacts.channels import CANDIDATE, STABLE
from segdepth_artefacts.promotion import PromotionGates
from segdepth_artefacts.shadow import ShadowSummary
from segdepth_gateway.calls import Rejected
from segdepth_gateway.replicas import ReplicaStatus
from segdepth_protos.contract import UnknownModel
from segdepth_protos.pooling import fill
from segdepth_protos.v1 import frame_pb2, models_pb2

CHANNELS = (STABLE, CANDIDATE)

SHOWN = 20
"""Refusals that a call's status lists; its length is limited."""


def models(store: ArtefactStore, family: str, status: ReplicaStatus) -> list[models_pb2.Model]:
    """All complete versions of a family (empty: of all), newest first. UnknownModel."""
    families = store.families()
    if family and family not in families:
        raise UnknownModel(f"family: {family!r} is unknown; there are {', '.join(families)}")
    return [model for name in ([family] if family else families) for model in _of_family(store, name, status)]


def _of_family(store: ArtefactStore, family: str, status: ReplicaStatus) -> list[models_pb2.Model]:
    found = {name: channel for name in CHANNELS if (channel := store.channel(family, name))}
    channels = {name: channel.version for name, channel in found.items()}
    forced = found[STABLE].forced if STABLE in found else None
    listed = []
    for version in store.versions(family):
        model = _model(store.manifest(family, version))
        model.channels.extend(name for name, at in channels.items() if at == version)
        if forced is not None and forced.to_version == version:
            model.forced = forced.reason
        model.serving = status.ready and (status.family, status.version) == (family, version)
        if model.serving:
            model.version.engine = status.engine
        elif channels.get(STABLE) == version:
            model.problem = _problem(family, status)
        elif channels.get(CANDIDATE) == version:
            model.problem = status.shadow_problem
            if STABLE in channels:
                _set_shadow(model.shadow, store.shadow(family, version, channels[STABLE]))
        listed.append(model)
    return listed


def _problem(family: str, status: ReplicaStatus) -> str:
    if status.family and status.family != family:
        return ""  # It answers whoever names it.
    if status.problem:
        return status.problem
    return f"not loaded yet; {status.version} answers" if status.ready else "not loaded yet"


def _set_shadow(message: models_pb2.Shadow, summary: ShadowSummary) -> None:
    message.stable = summary.stable
    message.replicas = summary.replicas
    message.frames_dropped = summary.dropped
    if summary.since is not None:
        message.since.FromDatetime(summary.since)
    if summary.updated is not None:
        message.updated.FromDatetime(summary.updated)
    for dose, counts in summary.doses.items():
        message.doses.add(dose=dose, **counts.model_dump())


def _model(manifest: Manifest) -> models_pb2.Model:
    checks = manifest.domain.checks
    model = models_pb2.Model(
        version=frame_pb2.ModelVersion(
            family=manifest.family, version=manifest.version, sha256=manifest.weights_sha256
        ),
        description=manifest.domain.description,
        assumes=manifest.assumes,
    )
    model.created.FromDatetime(manifest.created)
    if sampling := checks.get("sampling"):
        model.sampling_lower_angstrom_per_px = sampling.lower or 0.0
        model.sampling_upper_angstrom_per_px = sampling.upper or 0.0
    if field := checks.get("field"):
        model.field_lower_angstrom = field.lower or 0.0
    if pooling := manifest.pooling:
        fill(model.pooling, **pooling.model_dump(), abstain_below=manifest.calibration.abstain_below)
    return model


def promote(
    store: ArtefactStore, request: models_pb2.PromoteRequest, principal: str, gates: PromotionGates
) -> models_pb2.ChannelChange:
    """Points `stable` at the version, if the gates permit it or the caller forces it.

    Already there: the change that put it there, again; unless that was forced, then the gates are asked anew. A version
    that was stable by the gates may be so again. The gates judge against the stable that is replaced: whoever changes
    it meanwhile makes this fail.
    """
    family, version = request.family, request.version
    before = store.channel(family, STABLE)
    if before is not None and before.version == version and (request.force or before.forced is None):
        return _change(before, before.history[0])
    passed = before is not None and version in before.passed
    refused = [] if passed else promotion.examine(store, family, version, gates)
    if refused and not request.force:
        raise Rejected(grpc.StatusCode.FAILED_PRECONDITION, _refusal(family, version, refused))
    after = store.point(
        family,
        STABLE,
        version,
        principal=principal,
        reason="; ".join([request.reason, *(f"overridden: {one}" for one in refused)]),
        forced=bool(refused),
        expected=before,
    )
    return _change(after, after.history[0])


def _refusal(family: str, version: str, refused: list[str]) -> str:
    shown, more = refused[:SHOWN], refused[SHOWN:]
    lines = [f"{family} {version} is not promoted:", *(f"- {one}" for one in shown)]
    if more:
        lines.append(f"- and {len(more)} more")
    return "\n".join([*lines, "--force with a --reason promotes it nevertheless; both are recorded"])


def roll_back(store: ArtefactStore, request: models_pb2.RollbackRequest, principal: str) -> models_pb2.ChannelChange:
    """Points `stable` back at the version before. No gate is asked: it was stable."""
    family = request.family or store.default_family()
    before = store.channel(family, STABLE)
    if before is None or before.previous is None:
        raise Rejected(grpc.StatusCode.FAILED_PRECONDITION, f"{family}: there is no version before to roll back to")
    after = store.point(
        family,
        STABLE,
        before.previous,
        principal=principal,
        reason=request.reason or "rolled back",
        expected=before,
    )
    return _change(after, after.history[0])


def history(store: ArtefactStore, family: str) -> list[models_pb2.ChannelChange]:
    """Every change of the family's channels, newest first."""
    family = family or store.default_family()
    if family not in store.families():
        raise UnknownModel(f"family: {family!r} is unknown; there are {', '.join(store.families())}")
    channels = [channel for name in CHANNELS if (channel := store.channel(family, name))]
    changes = [(change.time, _change(channel, change)) for channel in channels for change in channel.history]
    return [change for _, change in sorted(changes, key=lambda entry: entry[0], reverse=True)]


def _change(channel: Channel, change: StoredChange) -> models_pb2.ChannelChange:
    message = models_pb2.ChannelChange(
        family=channel.family,
        channel=channel.name,
        from_version=change.from_version or "",
        to_version=change.to_version,
        principal=change.principal,
        reason=change.reason,
        forced=change.forced,
    )
    message.time.FromDatetime(change.time)
    return message
