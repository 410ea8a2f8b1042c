"""What a request for an estimate says besides its pixels."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from segdepth import Calibration, Detail, Options

RAW_DTYPES = {"u8": "u1", "u16": "<u2", "i16": "<i2", "f32": "<f4", "f16": "<f2"}
"""Little endian, as on the wire."""


class EstimateQuery(BaseModel):
    """Query parameters of POST /v1/estimate. An unknown one is an error: a misspelt one must not be overlooked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sampling_A: float | None = Field(None, description="Pixel size at the specimen [Å/px]; by default the header's")
    counts_per_electron: float | None = Field(None, description="Detector counts of one incident electron, if known")
    dose_per_A2: float | None = Field(None, description="Electrons per Å² in vacuum, per frame, if known")
    dataset: str = Field(
        "",
        max_length=1000,
        description="Of a file of several movies: the path or number of one, as the error lists them",
    )
    frame: int | None = Field(None, ge=0, description="This frame of a movie alone, from 0")
    model: str = Field("", description="Model family (of an instrument: FAMILY@PROFILE); auto = by the frame's lattice")
    version: str = Field("", description="Exact version; by default the one that the channel `stable` points at")
    strict: bool = Field(False, description="A frame outside the model's domain is an error, not a refused answer")
    priority: Literal["interactive", "batch"] = Field("interactive", description="batch waits for interactive frames")
    height: int | None = Field(None, ge=2, description="Of a raw frame [px]")
    width: int | None = Field(None, ge=2, description="Of a raw frame [px]")
    dtype: Literal["u8", "u16", "i16", "f32", "f16"] | None = Field(None, description="Of a raw frame, little endian")

    def options(self, *, maps: bool) -> Options:
        """For the SDK, with depth and confidence maps if a picture is to be made of them."""
        detail = Detail(depth_map=maps, confidence_map=maps)
        return Options(
            model=self.model, version=self.version, detail=detail, strict=self.strict, priority=self.priority
        )

    def calibration(self, known: Calibration) -> Calibration:
        """How the frames were taken: what their file says, and what this request says instead."""
        stated: dict[str, Any] = {"counts_per_electron": self.counts_per_electron, "dose_per_A2": self.dose_per_A2}
        return replace(known, **{name: value for name, value in stated.items() if value is not None})

    def raw_dtype(self) -> np.dtype[np.generic]:
        """Type of a raw frame's pixels."""
        assert self.dtype is not None
        return np.dtype(RAW_DTYPES[self.dtype])
