"""Between the Predictor's arrays and the messages of the contract."""

import numpy as np

from segdepth_core.prediction import Array, Check, Columns, Detail, Detector, Prediction, Status, Version
from segdepth_protos.v1 import frame_pb2 as pb

STATUS = {
    Status.OK: pb.DOMAIN_STATUS_OK,
    Status.SUSPECT: pb.DOMAIN_STATUS_SUSPECT,
    Status.REFUSED: pb.DOMAIN_STATUS_REFUSED,
}


def detail_of(detail: pb.Detail) -> Detail:
    """What a caller asks for, as the Predictor takes it."""
    return Detail(detail.depth_map, detail.confidence_map, detail.probabilities)


def detector_of(calibration: pb.Calibration) -> Detector:
    """What a calibration says of the detector."""
    black = calibration.black_level if calibration.HasField("black_level") else None
    return Detector(black, _blur_px(np.array(calibration.modulation_transfer)))


def _blur_px(transfer: Array) -> float | None:
    """Of the Gaussian that has this modulation transfer, evenly spaced from 0 to half a cycle a pixel; None of none.

    exp(-2 pi² s² f²) has the logarithm -2 pi² s² f²: a line through 0, fitted where there is something to fit.
    """
    cycles_px = np.linspace(0, 0.5, len(transfer))
    seen = (transfer > 0.05) & (cycles_px > 0)
    if not seen.any():
        return None
    reach = 2 * np.pi**2 * cycles_px[seen] ** 2
    return float(np.sqrt(max(0.0, -(np.log(transfer[seen]) * reach).sum() / (reach**2).sum())))


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
    if prediction.conditions is not None:
        result.conditions.CopyFrom(prediction.conditions.message())
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
        ok_lower=check.ok_lower,
        ok_upper=check.ok_upper,
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
