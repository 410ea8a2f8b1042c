"""summary.json: which model said it, and whether each frame may be believed. Written as the frames come."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from segdepth.export.atomic import AtomicFile
from segdepth.results import Answer, Check, FrameResult

BEGINNING = '{\n"frames": ['
UNANSWERED = "unanswered"


class SummaryWriter:
    """One line for each frame, and at the end what holds for all."""

    def __init__(self, file: AtomicFile, source: str):
        self._file, self._source = file, source
        self._models: list[dict[str, str]] = []
        self._counts: Counter[str] = Counter()
        self._written = False
        file.write(BEGINNING.encode())

    def add(self, answer: Answer) -> None:
        """The next answer."""
        self._counts[status_of(answer)] += 1 if isinstance(answer, FrameResult) else len(answer)
        if isinstance(answer, FrameResult):
            note_model(answer, self._models)
        for line in frame_lines(answer):
            self.line(line)

    def line(self, line: str) -> None:
        """The next frame, as `frame_lines` makes it."""
        self._file.write(((",\n" if self._written else "\n") + line).encode())
        self._written = True

    def finish(self) -> None:
        """No frame follows."""
        self._file.write(ending(self._source, self._models, self._counts).encode())
        self._file.finish()


def frame_lines(answer: Answer) -> Iterator[str]:
    """A line for each frame of an answer: without separators."""
    if isinstance(answer, FrameResult):
        yield _dumps(_frame(answer))
        return
    why = {"status": UNANSWERED, "why": answer.reason.value, "detail": answer.detail}
    for frame in range(answer.first, answer.last + 1):
        yield _dumps({"frame": frame, **why})


def status_of(answer: Answer) -> str:
    """What an answer counts as."""
    return answer.domain.status.value if isinstance(answer, FrameResult) else UNANSWERED


def note_model(result: FrameResult, models: list[dict[str, str]]) -> None:
    """Add the model that answered, unless it is among them."""
    model = asdict(result.model)
    if model not in models:
        models.append(model)


def ending(source: str, models: Sequence[dict[str, str]], counts: Mapping[str, int], **more: Any) -> str:
    """What follows the last frame's line."""
    rest = {
        "input": source,
        "model": models[0] if models else None,
        # More than one where the model was exchanged on the way, or each frame's family was its lattice's.
        "models": models,
        "counts": {name: counts.get(name, 0) for name in ("ok", "suspect", "refused", UNANSWERED)},
        **more,
    }
    lines = ",\n".join(f"{json.dumps(name)}: {_dumps(value)}" for name, value in rest.items())
    return f"\n],\n{lines}\n}}\n"


def _frame(result: FrameResult) -> dict[str, Any]:
    return {
        "frame": result.sequence,
        "status": result.domain.status.value,
        "columns": len(result.columns),
        "model_family": result.model.family,
        "model_version": result.model.version,
        "calibration": result.calibration.stated(),
        "conditions": result.conditions.fields() if result.conditions else None,
        "checks": [_check(check) for check in result.domain.checks],
    }


def _check(check: Check) -> dict[str, Any]:
    return {**asdict(check), "status": check.status.value, "value": _number(check.value)}


def _number(value: float) -> float | None:
    # JSON has no NaN: what could not be measured is null.
    return value if math.isfinite(value) else None


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
