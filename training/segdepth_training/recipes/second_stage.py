"""How a second stage is fitted: for all instruments that a recipe names, or for the one of a profile."""

from typing import Annotated

from pydantic import Field

from segdepth_training.recipes.part import Interval, Part
from segdepth_training.recipes.units import length, plausible


class SecondStage(Part):
    """Fitting of the second stage: specimens that the first never saw, and what instruments may differ in."""

    network: dict[str, int] = Field({}, description="sizes of segdepth_core.second_stage.SecondStage")
    specimens: int = Field(2000, ge=3)
    frames: int = Field(6, ge=3, multiple_of=3, description="of each specimen, three under the same optics")
    widened_share: float = Field(0.4, ge=0, le=1, description="share of frames of instruments that differ")
    contrast: Annotated[Interval, plausible(0.1, 3, "times", "%")] = Field(
        (0.4, 1.05), description="factor on the contrast, of those"
    )
    vibration_A: Annotated[Interval, length(0.04, 2, none=True)] = Field(
        (0.0, 0.6), description="blur of the specimen's image, standard deviation, of those [Å]"
    )
    steps: int = Field(7000, gt=0)
    batch: int = Field(12, ge=1, description="frames in a step")
    learning_rate: float = Field(1.5e-3, gt=0)
    average: float = Field(0.997, ge=0, lt=1, description="decay of the exponential moving average that is kept")
    checkpoint_every: int = Field(200, gt=0, description="steps")
    profile_specimens: int = Field(350, ge=3, description="instead of `specimens` where a profile's are fitted")
    profile_steps: int = Field(900, gt=0, description="instead of `steps`, beginning with what the model knows")
    profile_benchmark: int = Field(150, ge=3, description="specimens on which such a model is evaluated")
