"""The Serve replica: a Predictor, the model that the channel points at, and one thread that predicts."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from ray import serve
from ray.serve.config import AutoscalingConfig

from segdepth_artefacts import open_store
from segdepth_core.cpu import usable_cores
from segdepth_core.messages import STATUS, detail_of, detector_of, frame_result
from segdepth_core.prediction import Detector, Prediction, Status
from segdepth_inference.families import Choice, Families, Models, answerable
from segdepth_inference.keeper import ModelKeeper
from segdepth_inference.metrics import Metrics, ShadowMetrics
from segdepth_inference.settings import InferenceSettings
from segdepth_inference.shadow import Shadow
from segdepth_protos.contract import AUTO
from segdepth_protos.v1 import estimator_pb2
from segdepth_protos.v1 import frame_pb2 as pb

LOOK_BACK_S, METRICS_S = 10.0, 2.0
"""Time over which calls under way are averaged to decide how many replicas there shall be, and how often they are
counted [s]."""


class Work(NamedTuple):
    """A micro-batch of frames [height, width]: pixels, sampling [Å/px], detector and calibration of each, and who
    answers it."""

    pixels: list[NDArray[Any]]
    samplings_A: list[float]
    detectors: list[Detector]
    stated: list[pb.Calibration]
    choices: list[Choice]


class Replica:
    """Answers micro-batches of frames. A plain class: `deployment` makes it a Serve deployment."""

    def __init__(self, settings: InferenceSettings):
        self._settings = settings
        torch.set_num_threads(settings.threads or usable_cores())
        store = open_store(settings.store or None)
        self._keeper = ModelKeeper(
            store,
            settings.cache,
            family=settings.family,
            channel=settings.channel,
            device=settings.device,
            engine=settings.engine,
        )
        self._families = Families(store, settings.channel)
        # One thread: the network takes all cores (or the GPU) for itself, and a second batch would only slow the first.
        self._predicting = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._unanswered = 0
        self._metrics = Metrics()
        self._shadow = Shadow(
            self._keeper,
            store,
            ShadowMetrics(),
            replica=_own_name(),
            share=settings.shadow_share,
            channel=settings.shadow_channel,
        )
        self._keeper.start(settings.poll_s)
        self._families.start()
        self._shadow.start(settings.shadow_poll_s, settings.shadow_write_s)

    async def estimate(
        self, pixels: list[NDArray[Any]], calibrations: list[bytes], options: bytes
    ) -> tuple[list[bytes], list[int]]:
        """Answers of one micro-batch of frames [height, width] of equal shape.

        `calibrations` holds a serialized pb.Calibration a frame, `options` a serialized pb.EstimateOptions. Returns a
        serialized pb.FrameResult a frame (without its sequence) and its DomainStatus. A refused frame is an answer.
        Raises UnknownModel for a family or version that is not there or may not serve.
        """
        wanted = estimator_pb2.EstimateOptions.FromString(options)
        stated = [pb.Calibration.FromString(calibration) for calibration in calibrations]
        samplings_A = [calibration.sampling_angstrom_per_px for calibration in stated]
        detectors = [detector_of(calibration) for calibration in stated]
        loop = asyncio.get_running_loop()
        self._unanswered += 1
        try:
            choices = await self._choices(wanted, pixels, samplings_A, detectors)
            ready = {choice.model: self._keeper.ready(*choice.model) for choice in choices}
            models: Models = {model: predictor for model, predictor in ready.items() if predictor is not None}
            if len(models) < len(ready):
                choices, models = await asyncio.to_thread(answerable, choices, self._keeper.resolve)
            return await loop.run_in_executor(
                self._predicting,
                self._answer,
                Work(pixels, samplings_A, detectors, stated, choices),
                models,
                wanted.detail,
            )
        finally:
            self._unanswered -= 1
            sample = self._shadow.next(idle=self._unanswered == 0)
            if sample is not None:
                comparing = loop.run_in_executor(self._predicting, self._shadow.compare, sample)
                comparing.add_done_callback(self._shadow.ended)

    async def _choices(
        self,
        wanted: estimator_pb2.EstimateOptions,
        pixels: list[NDArray[Any]],
        samplings_A: list[float],
        detectors: list[Detector],
    ) -> list[Choice]:
        """Who answers each frame. What has to look at the pixels does so in the thread that predicts."""
        arguments = (wanted.family, wanted.version, pixels, samplings_A, detectors)
        if wanted.family != AUTO:
            return self._families.choices(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._predicting, self._families.choices, *arguments)

    def _answer(self, work: Work, models: Models, detail: pb.Detail) -> tuple[list[bytes], list[int]]:
        answers = self._families.predict(
            work.choices, models, work.pixels, work.samplings_A, detail_of(detail), work.detectors
        )
        self._observe(answers)
        if len(models) == 1:
            (predictor,) = models.values()
            self._shadow.offer(predictor, work.pixels, work.detectors, answers)
        results = [
            frame_result(answer, calibration).SerializeToString()
            for answer, calibration in zip(answers, work.stated, strict=True)
        ]
        return results, [int(STATUS[answer.verdict.status]) for answer in answers]

    def _observe(self, answers: list[Prediction]) -> None:
        self._metrics.batch(answers)
        for answer in answers[:1]:
            if answer.verdict.status < Status.REFUSED:
                self._keeper.saw((answer.height, answer.width), answer.sampling_A)

    async def status(self) -> dict[str, Any]:
        """Whether a model answers, which, and what is wrong if the channel's does not; the same of its shadow."""
        predictor = self._keeper.current
        version = predictor.version if predictor else None
        shadow = self._shadow.candidate
        return {
            "ready": predictor is not None,
            "family": version.family if version else "",
            "version": version.version if version else "",
            "sha256": version.sha256 if version else "",
            "engine": version.engine if version else "",
            "best_batch": predictor.best_batch if predictor else 1,
            "problem": self._keeper.problem,
            "shadow": shadow.version.version if shadow else "",
            "shadow_problem": self._shadow.problem,
        }

    def __del__(self) -> None:
        # Serve calls this when it stops the replica; an __init__ that failed has left nothing to stop.
        if hasattr(self, "_shadow"):
            self._keeper.stop()
            self._families.stop()
            self._shadow.stop()
            self._predicting.shutdown(wait=False, cancel_futures=True)


def _own_name() -> str:
    """This replica's name in the cluster."""
    return str(serve.get_replica_context().replica_id.unique_id)


def autoscaling(settings: InferenceSettings) -> AutoscalingConfig | None:
    """How the number of replicas follows the load; None where it is fixed.

    Under load a gateway has `in_flight` micro-batches under way at each replica: as that is more than the target, Serve
    adds replicas until they are not all busy all the time.
    """
    if settings.max_replicas is None:
        return None
    return AutoscalingConfig(
        min_replicas=settings.min_replicas,
        max_replicas=settings.max_replicas,
        target_ongoing_requests=settings.target_ongoing,
        upscale_delay_s=settings.upscale_delay_s,
        downscale_delay_s=settings.downscale_delay_s,
        look_back_period_s=LOOK_BACK_S,
        # Deprecated for environment variables, which Ray 2.60 reads nowhere.
        metrics_interval_s=METRICS_S,
    )


def deployment(settings: InferenceSettings) -> serve.Application:
    """The deployment "estimator", to be run by serve.run or bound to a gateway."""
    scaling = autoscaling(settings)
    decorate = serve.deployment(
        name="estimator",
        # A line of log a micro-batch costs more than the hop to the replica.
        logging_config={"enable_access_log": False},
        num_replicas=settings.replicas if scaling is None else None,
        autoscaling_config=scaling,
        max_ongoing_requests=settings.max_ongoing,
        ray_actor_options={
            "num_cpus": settings.cpus,
            "num_gpus": settings.gpus,
            # What blocks runs in threads of its own already; another event loop would only cost each frame 0.2 ms.
            "runtime_env": {"env_vars": {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"}},
        },
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=20,
    )
    application: serve.Application = decorate(Replica).bind(settings)
    return application
