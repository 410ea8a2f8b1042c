"""The second stage of a job: an actor with the model answers a chunk, and stores it."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from segdepth.results import FrameResult
from segdepth_artefacts import open_store
from segdepth_batch import maps
from segdepth_batch.addresses import Addresses
from segdepth_batch.output import Done
from segdepth_batch.plan import Chunk, Model
from segdepth_batch.settings import BatchSettings
from segdepth_batch.tables import CONDITIONS, write_columns, write_frames
from segdepth_core.cpu import usable_cores
from segdepth_core.messages import frame_result
from segdepth_core.prediction import Detail, Prediction, Status
from segdepth_core.predictor import Predictor
from segdepth_protos.contract import REFUSED_DEPTH
from segdepth_protos.v1 import frame_pb2 as pb

UNREADABLE = "unreadable"


def load(model: Model, settings: BatchSettings) -> Predictor:
    """The job's model, with the engine that it is pinned to."""
    torch.set_num_threads(settings.threads or max(1, usable_cores() // settings.actors_max))
    folder = open_store(settings.models or None).fetch(model.family, model.version, settings.cache)
    return Predictor.load(folder, device=settings.device, engine=model.engine)


class Worker:
    """Answers chunks: rows of {chunk, pixels, unreadable} in, rows of {chunk, done: JSON} out."""

    def __init__(self, addresses: Addresses, model: Model, settings: BatchSettings, with_maps: bool):
        self._folder, self._output = addresses.folder(), addresses.results()
        self._predictor = load(model, settings)
        self._maps = with_maps

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """One row at a time. A chunk that is done already, or whose job was cancelled, is not answered again."""
        for row in range(table.num_rows):
            chunk = Chunk.model_validate_json(table["chunk"][row].as_py())
            done = self._output.done(chunk.name)
            if done is None and not self._folder.cancelled():
                pixels = np.frombuffer(table["pixels"][row].as_buffer(), np.dtype(chunk.movie.dtype))
                if pixels.size:
                    frames = pixels.reshape(chunk.frames, chunk.movie.height, chunk.movie.width)
                    done = self._answer(chunk, frames, json.loads(table["unreadable"][row].as_py()))
            yield pa.table({"chunk": [chunk.name], "done": [done.model_dump_json() if done else ""]})

    def _answer(self, chunk: Chunk, frames_THW: NDArray[Any], unreadable: dict[str, str]) -> Done:
        readable = [number for number in range(chunk.frames) if str(number) not in unreadable]
        predictions = dict(
            zip(
                readable,
                self._predictor.predict(
                    [frames_THW[number] for number in readable],
                    [chunk.movie.sampling_A] * len(readable),
                    Detail(depth_map=self._maps, confidence_map=self._maps),
                ),
                strict=True,
            )
        )
        rows = [
            _row(chunk.first + number, predictions.get(number), unreadable.get(str(number), ""))
            for number in range(chunk.frames)
        ]
        with tempfile.TemporaryDirectory(prefix="segdepth-batch-") as scratch:
            return self._store(chunk, predictions, rows, Path(scratch))

    def _store(
        self, chunk: Chunk, predictions: dict[int, Prediction], rows: list[dict[str, Any]], scratch: Path
    ) -> Done:
        """Everything of the chunk, and its marker last."""
        calibration = pb.Calibration(sampling_angstrom_per_px=chunk.movie.sampling_A)
        results = [
            FrameResult(frame_result(one, calibration, chunk.first + number)) for number, one in predictions.items()
        ]
        columns, frames = f"columns/{chunk.name}.parquet", f"frames/{chunk.name}.parquet"
        number_of_columns = write_columns(scratch / "columns", chunk, results)
        write_frames(scratch / "frames", chunk, rows)
        files = {columns: scratch / "columns", frames: scratch / "frames"}
        if self._maps:
            depth, confidence = _stacked(chunk, predictions)
            for name in maps.write_chunk(scratch / "maps", chunk, depth, confidence):
                files[f"{maps.folder_of(chunk.movie)}/{name}"] = scratch / "maps" / name
        count = {status: sum(row["status"] == status for row in rows) for status in (*_NAMES.values(), UNREADABLE)}
        return self._output.finish(
            Done(
                chunk=chunk.name,
                source=chunk.movie.source,
                first=chunk.first,
                frames=chunk.frames,
                columns=number_of_columns,
                objects={key: self._output.put(key, path) for key, path in files.items()},
                **count,
            )
        )


_NAMES = {status: status.name.lower() for status in Status}


def _row(frame: int, prediction: Prediction | None, why: str) -> dict[str, Any]:
    """A row of the table of frames."""
    if prediction is None:
        return {"frame": frame, "status": UNREADABLE, "columns": 0, "dose_per_A2": float("nan"), "why": why}
    return {
        "frame": frame,
        "status": _NAMES[prediction.verdict.status],
        "columns": len(prediction.columns),
        "dose_per_A2": prediction.dose,
        "why": prediction.verdict.reason,
        **(dict(zip(CONDITIONS, prediction.conditions.numbers(), strict=True)) if prediction.conditions else {}),
    }


def _stacked(chunk: Chunk, predictions: dict[int, Prediction]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Depth and confidence [T, height, width]; a frame that cannot be read looks like a refused one."""
    shape = (chunk.frames, chunk.movie.height, chunk.movie.width)
    depth_THW = np.full(shape, REFUSED_DEPTH, np.uint8)
    confidence_THW = np.full(shape, np.nan, np.float32)
    for number, prediction in predictions.items():
        assert prediction.maps.depth is not None
        assert prediction.maps.confidence is not None
        depth_THW[number] = prediction.maps.depth
        confidence_THW[number] = prediction.maps.confidence
    return depth_THW, confidence_THW
