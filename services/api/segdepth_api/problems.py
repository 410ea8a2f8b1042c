"""Errors as RFC 9457 problem details: what is wrong, in which field, and what would be right."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

CLOSED_REQUEST = 499
"""The caller has left. Nobody sees this status but the metrics and the log; nginx uses it for the same."""

MEDIA_TYPE = "application/problem+json"


class ProblemDetails(BaseModel):
    """Body of every error (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:segdepth:problem:invalid-frame",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "missing; state the pixel size at the specimen in Å/px (typically 0.05-0.25)",
                "instance": "/v1/estimate",
                "field": "calibration.sampling_angstrom_per_px",
            }
        }
    )

    type: str = Field(description="urn:segdepth:problem:NAME; the name is stable")
    title: str
    status: int
    detail: str = Field(description="What is wrong and what would be right")
    instance: str | None = None
    field: str | None = Field(None, description="The input to blame")


class Problem(Exception):
    """An error with its place in HTTP. Raise it anywhere below a route."""

    def __init__(
        self,
        status: int,
        name: str,
        detail: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ):
        super().__init__(detail)
        self.status, self.name, self.detail, self.field = status, name, detail, field
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(max(1, round(retry_after_s)))

    def response(self, instance: str | None) -> JSONResponse:
        """The problem as a response to the request for `instance`."""
        details = ProblemDetails(
            type=f"urn:segdepth:problem:{self.name}",
            title=phrase(self.status),
            status=self.status,
            detail=self.detail,
            instance=instance,
            field=self.field,
        )
        return JSONResponse(
            details.model_dump(exclude_none=True), self.status, headers=self.headers, media_type=MEDIA_TYPE
        )


def phrase(status: int) -> str:
    """What a status is called; those of custom are in no list."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def install(app: FastAPI) -> None:
    """Answer every error of `app` with problem details."""

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> JSONResponse:
        return error.response(request.url.path)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        name = phrase(error.status_code).lower().replace(" ", "-")
        return Problem(error.status_code, name, str(error.detail), headers=error.headers).response(request.url.path)

    @app.exception_handler(ClientDisconnect)
    async def disconnect(request: Request, _: ClientDisconnect) -> JSONResponse:
        return Problem(CLOSED_REQUEST, "client-closed-request", "the caller has left").response(request.url.path)

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part not in ("query", "path", "header"))
        return Problem(422, "invalid-parameter", first["msg"], field=field).response(request.url.path)


def describe(app: FastAPI) -> None:
    """Add ProblemDetails to the app's OpenAPI, where `responses` refers to it: FastAPI knows one media type a model."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        schema = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
        document.setdefault("components", {}).setdefault("schemas", {})["ProblemDetails"] = schema
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def responses(*statuses: int) -> dict[int | str, dict[str, object]]:
    """OpenAPI's description of the problems a route can answer with."""
    return {
        status: {
            "description": phrase(status),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for status in statuses
    }
