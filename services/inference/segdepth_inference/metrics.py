"""What a replica tells operators. Exported by Ray beside its own metrics, with the prefix ray_."""

from ray.util import metrics

from segdepth_artefacts.shadow import Counts
from segdepth_core.prediction import Prediction

STAGE_BOUNDARIES_MS = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0]


class Metrics:
    """Of what is answered."""

    def __init__(self) -> None:
        self._frames = metrics.Counter(
            "segdepth_frames_answered", "frames answered, by the gate's verdict", tag_keys=("status", "version")
        )
        self._stage = metrics.Histogram(
            "segdepth_stage_ms", "time of a batch in a stage [ms]", STAGE_BOUNDARIES_MS, tag_keys=("stage",)
        )
        self._size = metrics.Histogram("segdepth_batch_frames", "frames of a batch", [1, 2, 4, 8, 16, 32, 64, 128])

    def batch(self, answers: list[Prediction]) -> None:
        """A batch was answered."""
        self._size.observe(len(answers))
        for status in {answer.verdict.status for answer in answers}:
            number = sum(answer.verdict.status == status for answer in answers)
            self._frames.inc(number, {"status": status.name.lower(), "version": answers[0].version.version})
        for stage, milliseconds in vars(answers[0].timings).items():
            self._stage.observe(milliseconds, {"stage": stage.removesuffix("_ms")})


_SHADOW = {
    "frames": ("segdepth_shadow_frames", "frames that the candidate answered too"),
    "verdicts_differ": ("segdepth_shadow_verdicts_differ", "of them with another verdict"),
    "columns": ("segdepth_shadow_columns", "columns that both models found"),
    "counts_differ": ("segdepth_shadow_counts_differ", "of them with another count"),
    "confident_columns": ("segdepth_shadow_confident_columns", "columns of whose count both are sure"),
    "confident_differ": ("segdepth_shadow_confident_differ", "of them with another count"),
    "only_stable": ("segdepth_shadow_only_stable", "columns that stable alone found"),
    "only_candidate": ("segdepth_shadow_only_candidate", "columns that the candidate alone found"),
}


class ShadowMetrics:
    """Of the candidate in the shadow of stable."""

    def __init__(self) -> None:
        self._counters = {
            field: metrics.Counter(name, f"{what}, by measured dose [e/A^2]", tag_keys=("candidate", "dose"))
            for field, (name, what) in _SHADOW.items()
        }
        self._dropped = metrics.Counter("segdepth_shadow_frames_dropped", "sampled frames not compared: busy")
        self._problem = metrics.Gauge("segdepth_shadow_problem", "1 while the candidate cannot be run in the shadow")
        self._waiting = metrics.Gauge(
            "segdepth_candidate_waiting_s", "how long the candidate has waited to become stable [s]; 0 = there is none"
        )
        self.problem(False)
        self.waiting(0.0)

    def compared(self, candidate: str, dose: str, counts: Counts) -> None:
        """The candidate answered a frame."""
        for field, counter in self._counters.items():
            number = getattr(counts, field)
            if number:
                counter.inc(number, {"candidate": candidate, "dose": dose})

    def dropped(self, frames: int) -> None:
        """Sampled frames were not compared."""
        self._dropped.inc(frames)

    def problem(self, there: bool) -> None:
        """The candidate cannot be run, or can again."""
        self._problem.set(float(there))

    def waiting(self, seconds: float) -> None:
        """How long the candidate has waited."""
        self._waiting.set(seconds)
