"""The model in the caller's own process, behind the same messages as over the wire."""

import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from segdepth_artefacts import ArtefactStore, Manifest, open_store
from segdepth_artefacts.errors import UnknownVersion
from segdepth_artefacts.manifest import Range
from segdepth_core.messages import detail_of, detector_of, frame_result, model_version
from segdepth_core.prediction import Prediction, Status
from segdepth_core.released import released_store
from segdepth_inference.families import Families, answerable
from segdepth_inference.keeper import ModelKeeper
from segdepth_inference.movie import Answering, answer_movie
from segdepth_protos.contract import AUTO, OutsideDomain, check_calibration, check_frame, decode_pixels
from segdepth_protos.pooling import fill
from segdepth_protos.v1 import estimator_pb2 as es
from segdepth_protos.v1 import frame_pb2 as pb
from segdepth_protos.v1 import models_pb2

CHANNELS = ("stable", "candidate")


class LocalBackend:
    """Answers in this process. May be called from several threads; one predicts at a time.

    `model`: family, or family/version; empty = the default family's stable version; auto = of each frame the family
    whose lattice it shows. `store`: a folder or s3:// URL; empty = SEGDEPTH_STORE, else the released model. The errors
    are those of segdepth_protos.contract.
    """

    def __init__(
        self,
        model: str | None = None,
        store: str | None = None,
        *,
        device: str = "auto",
        engine: str = "auto",
        cache: str | Path | None = None,
    ):
        if not structlog.is_configured():
            # A program that has no say about logs keeps its stdout to itself, and is told only what went wrong.
            structlog.configure(
                logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
                wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            )
        self._family, _, self._version = (model or "").partition("/")
        self._store: ArtefactStore = open_store(store or os.environ.get("SEGDEPTH_STORE") or released_store())
        folder = Path(cache) if cache else Path(tempfile.gettempdir()) / f"segdepth-models-{os.getuid()}"
        own = self._some_family() if self._family == AUTO else self._family
        self._keeper = ModelKeeper(self._store, folder, family=own, device=device, engine=engine)
        self._families = Families(self._store)
        self._predicting = threading.Lock()
        if not self._version:
            self._keeper.refresh()
        self._keeper.resolve(own, self._version)

    def estimate(self, request: es.EstimateRequest, timeout_s: float) -> es.EstimateResponse:
        """The answer to one frame.

        Raises InvalidFrame, UnknownModel, OutsideDomain (a refused frame where `strict` was set), TimeoutError where
        other frames kept the model busy for `timeout_s` [s].
        """
        start = time.perf_counter()
        frame = request.frame
        check_frame(frame)
        check_calibration(frame.calibration)
        if not self._predicting.acquire(timeout=max(0.0, timeout_s)):
            raise TimeoutError(f"no answer within {timeout_s:g} s: other frames came first")
        try:
            begun = time.perf_counter()
            (prediction,) = self._predict(request.options, [frame], [frame.calibration])
        finally:
            self._predicting.release()
        if request.options.strict and prediction.verdict.status == Status.REFUSED:
            raise OutsideDomain(prediction.verdict.reason)
        result = frame_result(prediction, frame.calibration, frame.sequence)
        result.timings.queue_ms = (begun - start) * 1e3
        result.timings.total_ms = (time.perf_counter() - start) * 1e3
        return es.EstimateResponse(result=result)

    def stream(self, opening: es.Open, frames: Iterator[pb.Frame]) -> Iterator[es.Answer]:
        """Answers to a movie, in order: every sequence number once, as a result or within a Gap.

        A number twice or backwards ends the stream with InvalidFrame once everything before it is answered; what
        `frames` raises comes through likewise. Sessions mean nothing here: nothing can be cut.
        """
        family, version = self._model_of(opening.options)
        own = self._keeper.resolve("" if family == AUTO else family, version)

        def predict(batch: list[pb.Frame], stated: list[pb.Calibration]) -> list[Prediction]:
            with self._predicting:
                return self._predict(opening.options, batch, stated)

        yield from answer_movie(Answering(opening, predict, own.best_batch), frames)

    def _predict(
        self, options: es.EstimateOptions, batch: list[pb.Frame], stated: list[pb.Calibration]
    ) -> list[Prediction]:
        self._families.refresh_if_old()
        frames = [decode_pixels(frame) for frame in batch]
        samplings_A = [calibration.sampling_angstrom_per_px for calibration in stated]
        detectors = [detector_of(calibration) for calibration in stated]
        choices = self._families.choices(*self._model_of(options), frames, samplings_A, detectors)
        choices, models = answerable(choices, self._keeper.resolve)
        return self._families.predict(choices, models, frames, samplings_A, detail_of(options.detail), detectors)

    def list_models(self, request: models_pb2.ListModelsRequest, timeout_s: float) -> models_pb2.ListModelsResponse:
        """Every complete version of the store (of one family, if named), newest first."""
        deadline = time.monotonic() + timeout_s
        models = []
        for family in [request.family] if request.family else self._store.families():
            for version in self._store.versions(family):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the store did not list its models within {timeout_s:g} s")
                models.append(self._describe(self._store.manifest(family, version)))
        return models_pb2.ListModelsResponse(models=models)

    def close(self) -> None:
        """Nothing to give back but memory."""
        self._keeper.stop()

    def _some_family(self) -> str:
        """The default family, else any that is released: who leaves it to the lattice need not have a default."""
        try:
            return self._store.default_family()
        except UnknownVersion:
            return next((family for family in self._store.families() if self._store.channel(family, CHANNELS[0])), "")

    def _model_of(self, options: es.EstimateOptions) -> tuple[str, str]:
        """Family and version of a request."""
        version = options.version
        if not version and options.family in ("", self._family):
            version = self._version
        return options.family or self._family, version

    def _describe(self, manifest: Manifest) -> models_pb2.Model:
        loaded = self._keeper.ready(manifest.family, manifest.version)
        created = Timestamp()
        created.FromDatetime(manifest.created)
        found = {name: channel for name in CHANNELS if (channel := self._store.channel(manifest.family, name))}
        channels = [name for name, channel in found.items() if channel.version == manifest.version]
        forced = found[CHANNELS[0]].forced if CHANNELS[0] in channels else None
        sampling = manifest.domain.checks.get("sampling", Range())
        field = manifest.domain.checks.get("field", Range())
        version = pb.ModelVersion(family=manifest.family, version=manifest.version, sha256=manifest.weights_sha256)
        model = models_pb2.Model(
            version=model_version(loaded.version) if loaded else version,
            created=created,
            channels=channels,
            serving=loaded is not None,
            problem=self._keeper.problem if channels and not loaded else "",
            sampling_lower_angstrom_per_px=sampling.lower or 0.0,
            sampling_upper_angstrom_per_px=sampling.upper or 0.0,
            field_lower_angstrom=field.lower or 0.0,
            description=manifest.domain.description,
            assumes=manifest.assumes,
            forced=forced.reason if forced else "",
        )
        if pooling := manifest.pooling:
            fill(model.pooling, **pooling.model_dump(), abstain_below=manifest.calibration.abstain_below)
        return model
