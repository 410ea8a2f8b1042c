"""summary.json: which model said it, and whether each frame may be believed. Written as the frames come."""

import json
import math
from collections import Counter
from dataclasses import asdict
from typing import Any

from segdepth.export.atomic import AtomicFile
from segdepth.results import Answer, Check, FrameResult, Gap


class SummaryWriter:
    """One line for each frame, and at the end what holds for all."""

    def __init__(self, file: AtomicFile, source: str):
        self._file, self._source = file, source
        self._models: list[dict[str, str]] = []
        self._counts: Counter[str] = Counter()
        self._written = False
        file.write(b'{\n"frames": [')

    def add(self, answer: Answer) -> None:
        """The next answer."""
        if isinstance(answer, Gap):
            why = {"status": "unanswered", "why": answer.reason.value, "detail": answer.detail}
            for frame in range(answer.first, answer.last + 1):
                self._line({"frame": frame, **why})
            self._counts["unanswered"] += len(answer)
            return
        model = asdict(answer.model)
        if model not in self._models:
            self._models.append(model)
        self._counts[answer.domain.status.value] += 1
        self._line(_frame(answer))

    def _line(self, frame: dict[str, Any]) -> None:
        separator = ",\n" if self._written else "\n"
        self._file.write((separator + _dumps(frame)).encode())
        self._written = True

    def finish(self) -> None:
        """No frame follows."""
        rest = {
            "input": self._source,
            "model": self._models[0] if self._models else None,
            # More than one where the model was exchanged on the way, or each frame's family was its lattice's.
            "models": self._models,
            "counts": {name: self._counts[name] for name in ("ok", "suspect", "refused", "unanswered")},
        }
        lines = ",\n".join(f"{json.dumps(name)}: {_dumps(value)}" for name, value in rest.items())
        self._file.write(f"\n],\n{lines}\n}}\n".encode())
        self._file.finish()


def _frame(result: FrameResult) -> dict[str, Any]:
    return {
        "frame": result.sequence,
        "status": result.domain.status.value,
        "columns": len(result.columns),
        "model_family": result.model.family,
        "model_version": result.model.version,
        "calibration": result.calibration.stated(),
        "checks": [_check(check) for check in result.domain.checks],
    }


def _check(check: Check) -> dict[str, Any]:
    return {**asdict(check), "status": check.status.value, "value": _number(check.value)}


def _number(value: float) -> float | None:
    # JSON has no NaN: what could not be measured is null.
    return value if math.isfinite(value) else None


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
