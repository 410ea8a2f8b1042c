"""Between the Predictor's arrays and the messages of the contract."""

import numpy as np

from segdepth_core.prediction import Array, Check, Columns, Detail, Prediction, Status, Version
from segdepth_protos.v1 import frame_pb2 as pb

STATUS = {
    Status.OK: pb.DOMAIN_STATUS_OK,
    Status.SUSPECT: pb.DOMAIN_STATUS_SUSPECT,
    Status.REFUSED: pb.DOMAIN_STATUS_REFUSED,
}


def detail_of(detail: pb.Detail) -> Detail:
    """What a caller asks for, as the Predictor takes it."""
    return Detail(detail.depth_map, detail.confidence_map, detail.probabilities)


def model_version(version: Version) -> pb.ModelVersion:
    """Which model answered."""
    return pb.ModelVersion(family=version.family, version=version.version, sha256=version.sha256, engine=version.engine)


def frame_result(prediction: Prediction, calibration: pb.Calibration, sequence: int = 0) -> pb.FrameResult:
    """The whole answer to a frame whose calibration was `calibration`."""
    result = pb.FrameResult(
        sequence=sequence,
        height=prediction.height,
        width=prediction.width,
        model=model_version(prediction.version),
        calibration=calibration,
        domain=pb.DomainVerdict(
            status=STATUS[prediction.verdict.status],
            checks=[_check(check) for check in prediction.verdict.checks],
        ),
        columns=_columns(prediction.columns, prediction.version.species),
        timings=pb.Timings(**vars(prediction.timings)),
    )
    maps = prediction.maps
    if maps.depth is not None:
        result.depth_map = _bytes(maps.depth, "u1")
    if maps.confidence is not None:
        result.confidence_map = _bytes(maps.confidence, "<f4")
    if maps.probabilities is not None:
        result.probabilities = _bytes(maps.probabilities, "<f4")
    return result


def _check(check: Check) -> pb.DomainCheck:
    return pb.DomainCheck(
        name=check.name,
        status=STATUS[check.status],
        value=check.value,
        lower=check.lower,
        upper=check.upper,
        unit=check.unit,
        message=check.message,
    )


def _columns(columns: Columns, species: tuple[str, ...]) -> pb.ColumnTable:
    return pb.ColumnTable(
        size=len(columns),
        x_px=_bytes(columns.x_px, "<f4"),
        y_px=_bytes(columns.y_px, "<f4"),
        species=_bytes(columns.species, "u1"),
        count=_bytes(columns.count, "u1"),
        lo90=_bytes(columns.lo90, "u1"),
        hi90=_bytes(columns.hi90, "u1"),
        abstained=_bytes(columns.abstained, "u1"),
        probabilities=_bytes(columns.probabilities, "<f4"),
        species_names=species,
    )


def _bytes(array: Array, dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype).tobytes()
