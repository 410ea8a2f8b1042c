"""The pictures of a tracked movie, drawn fast: frame | counts | what changed. No figure of matplotlib is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps, font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segdepth.export.picture import CERTAIN, MARKER_A, scale_bar_nm
from segdepth.export.smoothing import SIGMA_A, smoothed
from segdepth.export.track_history import Record
from segdepth.tracks.results import Change
from segdepth_protos import contract

PANEL_PX = 420, 840
"""Longer side of a panel [px]: as much as a marker on every column needs, within these limits."""

MARKER_PX = 8.0, 16.0
"""Diameter of a marker [px]: in the specimen MARKER_A, within these limits."""

GAP_PX, HEAD_PX, FOOT_PX = 8, 30, 62

BACKGROUND, TEXT, FAINT = (18, 18, 22), (235, 235, 235), (150, 150, 155)
LOST, GAINED = (255, 140, 40), (70, 200, 255)
"""Of columns that lost atoms, and that gained some: told apart by every eye."""

DIM = 0.42
"""Brightness of the frame behind markers."""

FADED, FADING_SHARE, FADING_LEAST = 0.55, 0.2, 15
"""A change fades to this strength within this share of the movie, or that many frames."""

MOST_LABELS = 25
"""Changes of one picture that say from what to what: the latest."""

LABEL_PX = 14
"""Height of what a change says: one that another covers is left out."""

OVERSAMPLED = 4
_POLYGONS = {1: (4, 0), 2: (4, 45), 3: (3, 0), 4: (3, 180)}
"""Corners and rotation [°] of the markers of the second species and so on, as in the picture of a frame: s, D, ^, v."""


@dataclass(frozen=True)
class Brightness:
    """What is black and what white of all frames, as parts of a frame's mean: nothing flickers with the beam."""

    low: float
    high: float

    @classmethod
    def of(cls, frames: Sequence[NDArray[np.float64]]) -> "Brightness":
        """Of a few smoothed frames."""
        low, high = np.percentile(np.concatenate([_relative(frame).ravel() for frame in frames]), (0.5, 99.7))
        return cls(float(low), float(max(high, low + 1e-9)))

    def grey(self, frame: NDArray[np.float64]) -> NDArray[np.uint8]:
        """As bytes."""
        return np.asarray(255 * np.clip((_relative(frame) - self.low) / (self.high - self.low), 0, 1), np.uint8)


def count_colours() -> list[tuple[int, int, int]]:
    """Of 0, 1, ... ten or more atoms, as in the picture of a frame: red, green and blue, 0-255."""
    shades = colormaps["viridis"].resampled(contract.CLASSES)(np.arange(contract.CLASSES))
    return [(int(255 * red), int(255 * green), int(255 * blue)) for red, green, blue, _ in shades]


def _relative(frame: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = float(frame.mean())
    return frame / mean if mean > 0 else frame


class Panels:
    """Draws picture after picture of a movie of one shape. Needs matplotlib and pillow."""

    def __init__(
        self,
        shape: tuple[int, int],
        sampling_A: float,
        elements: tuple[str, ...],
        changes: Sequence[Change],
        frames: int,
        interval_s: float | None = None,
    ):
        """shape [px]; changes: all of the movie; frames: how many it has; interval_s: from one to the next [s]."""
        self._shape, self._sampling_A, self._elements = shape, sampling_A, elements
        self._changes = sorted(changes, key=lambda change: change.frame)
        self._interval_s = interval_s
        self._fading = max(FADING_LEAST, FADING_SHARE * frames)
        longer = max(shape)
        side = float(np.clip(longer * sampling_A / MARKER_A * MARKER_PX[0], *PANEL_PX))
        self._scale = side / longer
        self._binning = max(1, int(1 / self._scale))
        # Even, as the codecs of films need it.
        self._panel = (max(2, 2 * round(shape[1] * self._scale / 2)), max(2, 2 * round(shape[0] * self._scale / 2)))
        width = max(3 * self._panel[0] + 4 * GAP_PX, 960)
        self.size = (width + width % 2, HEAD_PX + self._panel[1] + FOOT_PX)
        """Width and height of a picture [px]."""
        self._left = [
            (self.size[0] - 3 * self._panel[0] - 2 * GAP_PX) // 2 + n * (self._panel[0] + GAP_PX) for n in range(3)
        ]
        self._fonts = {points: ImageFont.truetype(_font(), points) for points in (11, 12, 13, 15)}
        self._marker_px = float(np.clip(MARKER_A / sampling_A * self._scale, *MARKER_PX))
        self._colours = count_colours()
        self._sprites: dict[tuple[int, int, bool], Image.Image] = {}
        self._last: dict[int, tuple[float, float]] = {}
        self._frame = self._empty()

    def prepared(self, image: NDArray[Any]) -> NDArray[np.float64]:
        """A frame smoothed for the eye, at about the size in which it is shown."""
        image, step = np.asarray(image, np.float64), self._binning
        if step > 1:
            height, width = image.shape[0] // step * step, image.shape[1] // step * step
            image = image[:height, :width].reshape(height // step, step, width // step, step).mean(axis=(1, 3))
        return smoothed(image, self._sampling_A * step)

    def picture(self, grey: NDArray[np.uint8] | None, record: Record) -> Image.Image:
        """The picture of a frame: `grey` as Brightness gives it, None where it cannot be read."""
        picture = self._frame.copy()
        if grey is not None:
            # What binning cut off at the right and the bottom is less than a pixel of the picture.
            shown = Image.fromarray(grey).resize(self._panel, Image.Resampling.BICUBIC)
            dimmed = shown.point([int(DIM * value) // 10 * 10 for value in range(256)])
            for left, panel in zip(self._left, (shown, dimmed, dimmed), strict=True):
                picture.paste(panel.convert("RGB"), (left, HEAD_PX))
        draw = ImageDraw.Draw(picture)
        self._draw_scale_bar(draw)
        if record.tracked:
            self._draw_counts(picture, record)
            columns = record.columns
            self._last |= zip(
                columns["track"].tolist(), zip(columns["x_px"], columns["y_px"], strict=True), strict=True
            )
        else:
            self._say_not_tracked(draw, record)
        self._draw_changes(picture, record)
        self._say_frame(draw, record)
        return picture

    def _empty(self) -> Image.Image:
        """What all pictures have in common: titles and legend."""
        picture = Image.new("RGB", self.size, BACKGROUND)
        draw = ImageDraw.Draw(picture)
        titles = (f"frame, smoothed (σ {SIGMA_A:g} Å)", "atoms per column", "changed up to now")
        for left, title in zip(self._left, titles, strict=True):
            draw.text((left + self._panel[0] / 2, HEAD_PX / 2), title, TEXT, self._fonts[15], anchor="mm")
        top = HEAD_PX + self._panel[1] + 34
        self._draw_count_legend(picture, self._left[1], top)
        x = self._left[2]
        for colour, name in ((LOST, "atoms lost"), (GAINED, "gained")):
            draw.ellipse((x, top, x + 13, top + 13), outline=colour, width=2)
            draw.text((x + 19, top + 7), name, TEXT, self._fonts[12], anchor="lm")
            x += 34 + int(self._fonts[12].getlength(name))
        draw.text((x, top + 7), "from→to; faint: long ago", FAINT, self._fonts[12], anchor="lm")
        return picture

    def _draw_count_legend(self, picture: Image.Image, x: int, top: int) -> None:
        draw = ImageDraw.Draw(picture)
        step = min(22, (self._panel[0] - 180) // contract.CLASSES)
        for count, colour in enumerate(self._colours):
            draw.rectangle((x, top, x + step - 1, top + 13), fill=colour)
            label = f"≥{count}" if count == contract.CLASSES - 1 else f"{count}"
            ink = (0, 0, 0) if sum(colour) > 330 else TEXT
            draw.text((x + step / 2, top + 7), label, ink, self._fonts[11], anchor="mm")
            x += step
        x += 12
        for number, name in enumerate(self._elements):
            sprite = _sprite(number, 11.0, (190, 190, 195), solid=True)
            picture.paste(sprite, (x, top + 7 - sprite.height // 2), sprite)
            draw.text((x + 16, top + 7), name, TEXT, self._fonts[12], anchor="lm")
            x += 26 + int(self._fonts[12].getlength(name))
        draw.text((x + 2, top + 7), "hollow: p < 0.5", FAINT, self._fonts[12], anchor="lm")

    def _at(self, panel: int, x_px: float, y_px: float) -> tuple[float, float]:
        """Where a position in the frame is in the picture."""
        return self._left[panel] + (x_px + 0.5) * self._scale, HEAD_PX + (y_px + 0.5) * self._scale

    def _draw_counts(self, picture: Image.Image, record: Record) -> None:
        for row in record.columns[record.columns["count"] > 0]:
            x, y = self._at(1, float(row["x_px"]), float(row["y_px"]))
            if not self._within(1, x, y):
                continue
            count = int(row["count"])
            key = (max(0, int(row["species"]) - 1), count, bool(row["posterior"][count] >= CERTAIN * 255))
            if key not in self._sprites:
                self._sprites[key] = _sprite(key[0], self._marker_px, self._colours[count], key[2])
            sprite = self._sprites[key]
            picture.paste(sprite, (round(x - sprite.width / 2), round(y - sprite.height / 2)), sprite)

    def _within(self, panel: int, x: float, y: float) -> bool:
        inside_x = self._left[panel] <= x < self._left[panel] + self._panel[0]
        return inside_x and HEAD_PX <= y < HEAD_PX + self._panel[1]

    def _draw_changes(self, picture: Image.Image, record: Record) -> None:
        """A ring where a column stands that has changed, and from what to what if there is room: the latest on top."""
        known = [change for change in self._changes if change.frame <= record.sequence]
        draw = ImageDraw.Draw(picture)
        radius = max(7.0, 0.95 * self._marker_px)
        rings: list[tuple[float, float, str, tuple[int, ...]]] = []
        for change in known:
            x, y = self._at(2, *self._last.get(change.track, (change.x_px, change.y_px)))
            if not self._within(2, x, y):
                continue
            age = (record.sequence - change.frame) / self._fading
            colour = _mixed(LOST if change.after < change.before else GAINED, max(FADED, 1 - (1 - FADED) * age))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=3 if age < 0.3 else 2)
            rings.append((x, y, f"{change.before}→{change.after}", colour))
        taken: list[tuple[float, float]] = []
        for x, y, text, colour in rings[: -MOST_LABELS - 1 : -1]:
            if all(abs(x - other_x) > 4 * radius or abs(y - other_y) > LABEL_PX for other_x, other_y in taken):
                self._label(draw, x, y, radius, text, colour)
                taken.append((x, y))

    def _label(
        self, draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, text: str, colour: tuple[int, ...]
    ) -> None:
        font = self._fonts[13]
        right = self._left[2] + self._panel[0]
        beyond = x + radius + 4 + font.getlength(text) > right
        at, anchor = (x - radius - 3, "rm") if beyond else (x + radius + 3, "lm")
        draw.text((at, y), text, colour, font, anchor=anchor, stroke_width=2, stroke_fill=BACKGROUND)

    def _draw_scale_bar(self, draw: ImageDraw.ImageDraw) -> None:
        length_nm = scale_bar_nm(self._shape[1] * self._sampling_A)
        long = 10 * length_nm / self._sampling_A * self._scale
        x, y = self._left[0] + 14, HEAD_PX + self._panel[1] - 14
        draw.rectangle((x, y - 4, x + long, y), fill=(255, 255, 255), outline=(0, 0, 0))
        look: dict[str, Any] = {"anchor": "lb", "stroke_width": 2, "stroke_fill": (0, 0, 0)}
        draw.text((x, y - 8), f"{length_nm:g} nm", (255, 255, 255), self._fonts[15], **look)

    def _say_frame(self, draw: ImageDraw.ImageDraw, record: Record) -> None:
        seconds = (
            "" if not self._interval_s else f"   {record.sequence * self._interval_s:.{_digits(self._interval_s)}f} s"
        )
        at = HEAD_PX + self._panel[1] + 16
        draw.text((self._left[0], at), f"frame {record.sequence}{seconds}", TEXT, self._fonts[15], anchor="lm")
        columns = int((record.columns["count"] > 0).sum())
        said = f"{columns} columns" if record.tracked else record.state.value
        draw.text((self._left[1], at), said, TEXT if record.tracked else LOST, self._fonts[13], anchor="lm")
        changes = sum(change.frame <= record.sequence for change in self._changes)
        named = "change" if changes == 1 else "changes"
        draw.text((self._left[2], at), f"{changes} {named}", TEXT, self._fonts[13], anchor="lm")

    def _say_not_tracked(self, draw: ImageDraw.ImageDraw, record: Record) -> None:
        middle = self._left[1] + self._panel[0] / 2, HEAD_PX + self._panel[1] / 2
        look: dict[str, Any] = {"anchor": "mm", "stroke_width": 3, "stroke_fill": BACKGROUND}
        draw.text(middle, record.state.value, LOST, self._fonts[15], **look)
        most = int(self._panel[0] / self._fonts[12].getlength("n"))
        why = record.why if len(record.why) <= most else f"{record.why[: most - 1]}…"
        draw.text((middle[0], middle[1] + 22), why, TEXT, self._fonts[12], **look)


def _digits(interval_s: float) -> int:
    """Decimals in which two frames differ."""
    return int(np.clip(np.ceil(-np.log10(interval_s)), 0, 4))


def _font() -> str:
    """matplotlib's own, which has every sign that is written here."""
    return str(font_manager.findfont("DejaVu Sans"))


def _mixed(colour: tuple[int, int, int], strength: float) -> tuple[int, ...]:
    return tuple(round(strength * one + (1 - strength) * dark) for one, dark in zip(colour, BACKGROUND, strict=True))


def _sprite(species: int, diameter: float, colour: tuple[int, int, int], solid: bool) -> Image.Image:
    """A marker of one species [RGBA], drawn large and made small: its edges are smooth."""
    side = OVERSAMPLED * (int(np.ceil(diameter)) + 3)
    sprite = Image.new("RGBA", (side, side), (*colour, 0))
    draw = ImageDraw.Draw(sprite)
    middle, radius = side / 2, OVERSAMPLED * diameter / 2
    # A light edge around what is sure, by which dark counts are seen; what is unsure is hollow.
    edge = tuple((255 + part) // 2 for part in colour) if solid else colour
    width = OVERSAMPLED * diameter * (0.12 if solid else 0.26)
    look: dict[str, Any] = {"fill": (*(colour if solid else BACKGROUND), 255), "outline": (*edge, 255)}
    if species not in _POLYGONS:
        box = (middle - radius, middle - radius, middle + radius, middle + radius)
        draw.ellipse(box, width=round(width), **look)
    else:
        corners, turned = _POLYGONS[species]
        draw.regular_polygon((middle, middle, radius * 1.2), corners, rotation=turned, width=round(width), **look)
    return sprite.resize((side // OVERSAMPLED, side // OVERSAMPLED), Image.Resampling.LANCZOS)
