"""Answers as JSON, CSV or a picture."""

from collections.abc import Sequence

from fastapi import Response
from fastapi.responses import JSONResponse

from segdepth.export import CSV_HEADER, csv_rows
from segdepth.export.picture import png
from segdepth.results import Answer, FrameResult
from segdepth_api.answers import Estimate
from segdepth_api.uploads import Upload

JSON, CSV, PNG = "application/json", "text/csv", "image/png"
OFFERED = (JSON, CSV, PNG)


def rendered(media_type: str, answers: Sequence[Answer], upload: Upload) -> Response:
    """The answers in a format on offer. Draws and formats: not for the event loop."""
    if media_type == JSON:
        return JSONResponse(Estimate.of(answers, upload.notes).model_dump())
    results = [answer for answer in answers if isinstance(answer, FrameResult)]
    if media_type == CSV:
        rows = (csv_rows(result) for result in results)
        return Response(CSV_HEADER + "".join(rows), media_type=CSV)
    (result,) = results
    return Response(png(upload.frame(0), result, f"frame {result.sequence}"), media_type=PNG)
