"""A picture of a track: how many atoms its column has over time, how sure that is, and when it changed."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import InvalidFrame
from segdepth.export.picture import scale_bar_nm
from segdepth.export.smoothing import smoothed
from segdepth.export.track_history import History, Record
from segdepth.tracks.results import Change, TrackState
from segdepth_protos import contract

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHANGED = "changed"
"""Instead of numbers of tracks: those that changed."""

NONE = "none"
"""Instead of numbers of tracks: no picture of any."""

MOST_PLOTS = 20

INCHES = (11.0, 4.2)
DPI = 110

STATE_COLOURS = {TrackState.REFUSED: "#c44e52", TrackState.MISSING: "#8c8c8c", TrackState.LOST: "#8172b3"}
NOT_IN_FIELD = "#d9d9d9"

STATES = tuple(TrackState)

MOST_BINS = 4000
"""Along the axis of time: more than a picture has pixels."""

TOP = contract.CLASSES + 0.35
"""Of the axis of counts: room for what changes say."""

CROP_A = 16.0
"""Side of the cut-out of the frame around the column [Å]."""


def chosen_tracks(plot: str, changes: Sequence[Change]) -> tuple[list[int], int]:
    """The tracks to draw, and how many more changed than are drawn: of `changed`, those with the surest changes.

    plot: `changed`, `none`, or numbers such as 12,57. Raises InvalidFrame.
    """
    if plot.strip() != CHANGED:
        return track_numbers(plot), 0
    surest = sorted(changes, key=lambda change: -change.p_changed)
    tracks = list(dict.fromkeys(change.track for change in surest))
    return tracks[:MOST_PLOTS], max(0, len(tracks) - MOST_PLOTS)


def track_numbers(plot: str) -> list[int]:
    """Of `12,57`, or `none`. Raises InvalidFrame."""
    if plot.strip() == NONE:
        return []
    try:
        numbers = list(dict.fromkeys(int(part) for part in plot.split(",") if part.strip()))
    except ValueError:
        numbers = []
    if not numbers:
        raise InvalidFrame(f"plot: {plot!r} is not numbers of tracks such as 12,57, {CHANGED} or {NONE}", "plot")
    if len(numbers) > MOST_PLOTS:
        raise InvalidFrame(f"plot: {len(numbers)} tracks; at most {MOST_PLOTS} are drawn", "plot")
    return numbers


@dataclass(frozen=True, eq=False)
class Series:
    """A track over the movie's frames.

    sequence, state: of each frame; the rest is nought where the track is not `shown`. posterior: [frames, 11].
    """

    track: int
    species: str
    sequence: NDArray[np.int64]
    state: Sequence[TrackState]
    shown: NDArray[np.bool_]
    count: NDArray[np.int64]
    posterior: NDArray[np.float64]
    lo90: NDArray[np.int64]
    hi90: NDArray[np.int64]
    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    sampling_A: float

    def shown_at(self, changes: Sequence[Change]) -> int:
        """Index of the frame whose picture tells where the column is: its first change, else its first frame."""
        if changes:
            at = int(np.searchsorted(self.sequence, min(change.frame for change in changes)))
            if at < len(self.shown) and self.shown[at]:
                return at
        return int(self.shown.argmax())


def series_of(history: History, tracks: Sequence[int]) -> dict[int, Series]:
    """The tracks that there are, of `tracks`."""
    wanted = np.array(sorted(tracks), np.int64)
    sequence: list[int] = []
    state: list[TrackState] = []
    rows: dict[int, list[tuple[int, NDArray[Any]]]] = {track: [] for track in tracks}
    sampling_A = 0.0
    for index, record in enumerate(history):
        sequence.append(record.sequence)
        state.append(record.state)
        sampling_A = record.sampling_A or sampling_A
        for at in _found(record, wanted):
            # A copy: what is kept of a frame is one track, not all.
            rows[int(record.columns["track"][at])].append((index, record.columns[at].copy()))
    numbers = np.array(sequence, np.int64)
    return {
        track: _series(track, found, numbers, state, history.elements, sampling_A)
        for track, found in rows.items()
        if found
    }


def _found(record: Record, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    _, at, _ = np.intersect1d(record.columns["track"], wanted, assume_unique=True, return_indices=True)
    return np.asarray(at)


def _series(
    track: int,
    found: list[tuple[int, NDArray[Any]]],
    sequence: NDArray[np.int64],
    state: list[TrackState],
    elements: tuple[str, ...],
    sampling_A: float,
) -> Series:
    at = np.array([index for index, _ in found])
    rows = np.array([row for _, row in found])

    def spread(name: str, dtype: type[Any]) -> NDArray[Any]:
        values = np.zeros((len(sequence), *rows[name].shape[1:]), dtype)
        values[at] = rows[name]
        return values

    shown = np.zeros(len(sequence), bool)
    shown[at] = True
    return Series(
        track=track,
        species=("?", *elements)[int(rows["species"][-1])],
        sequence=sequence,
        state=state,
        shown=shown,
        posterior=spread("posterior", np.float64) / 255,
        sampling_A=sampling_A,
        **{name: spread(name, np.int64) for name in ("count", "lo90", "hi90")},
        **{name: spread(name, np.float64) for name in ("x_px", "y_px")},
    )


def track_png(
    series: Series,
    changes: Iterable[Change],
    title: str = "",
    interval_s: float | None = None,
    image: NDArray[Any] | None = None,
) -> bytes:
    """The track's picture as a PNG: its posterior as shades, its count as a line, its changes, and what is missing.

    changes: the track's own; interval_s: from one frame to the next [s], for a second axis; image: frame
    `series.shown_at(changes)`, of which the surroundings of the column are shown. Needs matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    changes = sorted(changes, key=lambda change: change.frame)
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if image is None:
        time = figure.subplots()
    else:
        time, cut = figure.subplots(1, 2, width_ratios=(2.9, 1))
        _draw_place(cut, series, series.shown_at(changes), image)
    _draw_time(time, series, changes)
    if interval_s:
        there: Any = (lambda x: x * interval_s, lambda x: x / interval_s)
        seconds = time.secondary_xaxis("top", functions=there)
        seconds.set_xlabel("time [s]")
    figure.suptitle(" · ".join(part for part in (title, f"track {series.track} ({series.species})") if part))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_time(axes: "Axes", series: Series, changes: Sequence[Change]) -> None:
    from matplotlib.patheffects import withStroke

    first, last = int(series.sequence[0]), int(series.sequence[-1])
    drawn = axes.imshow(
        _shades(series),
        cmap="Blues",
        vmin=0,
        vmax=1,
        origin="lower",
        aspect="auto",
        interpolation="none",
        extent=(first - 0.5, last + 0.5, -0.5, contract.CLASSES - 0.5),
    )
    _draw_missing(axes, series)
    # White around it: where a count is certain, its shade is as dark as the line.
    outline: Any = [withStroke(linewidth=3.2, foreground="white")]
    axes.plot(*_steps(series, series.count), color="black", lw=1.6, label="most likely count", path_effects=outline)
    dashed: dict[str, Any] = {"color": "#08519c", "lw": 0.9, "ls": (0, (3, 2))}
    axes.plot(*_steps(series, series.lo90 - 0.5), label="90 % interval", **dashed)
    axes.plot(*_steps(series, series.hi90 + 0.5), **dashed)
    _draw_changes(axes, changes, first, last)
    axes.set_xlim(first - 0.5, last + 0.5)
    axes.set_ylim(-0.6, TOP)
    axes.set_yticks(range(contract.CLASSES), [*map(str, range(contract.CLASSES - 1)), f"≥{contract.CLASSES - 1}"])
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("frame")
    axes.set_ylabel("atoms")
    axes.figure.legend(loc="outside lower left", ncols=7, frameon=False, fontsize=8)
    axes.figure.colorbar(drawn, ax=axes, label="posterior", pad=0.01, fraction=0.03)


def _shades(series: Series) -> NDArray[np.float64]:
    """The posterior [11, bins] over the movie, NaN where there is none: a bin a frame, unless there are too many."""
    first, span = int(series.sequence[0]), int(series.sequence[-1] - series.sequence[0]) + 1
    bins = min(span, MOST_BINS)
    at = ((series.sequence[series.shown] - first) * bins // span).astype(np.int64)
    total, frames = np.zeros((bins, contract.CLASSES)), np.zeros(bins)
    np.add.at(total, at, series.posterior[series.shown])
    np.add.at(frames, at, 1)
    return np.where(frames > 0, total.T / np.maximum(frames, 1), np.nan)


def _steps(series: Series, values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of a line that is level over each frame, and broken where the track is not shown."""
    at = np.flatnonzero(series.shown)
    x = series.sequence[at][:, None] + np.array([-0.5, 0.5, 0.5])
    y = np.repeat(values[at].astype(np.float64)[:, None], 3, axis=1)
    broken = np.append(np.diff(series.sequence[at]) > 1, False)
    y[broken, 2] = np.nan
    return x.ravel(), y.ravel()


def _draw_missing(axes: "Axes", series: Series) -> None:
    """Stretches of frames that tell nothing of the column, by why."""
    states = np.array([STATES.index(state) for state in series.state])
    tracked = states == STATES.index(TrackState.TRACKED)
    kinds = [(states == STATES.index(state), state.value, colour) for state, colour in STATE_COLOURS.items()]
    kinds.append((tracked & ~series.shown, "left the field, or not known yet", NOT_IN_FIELD))
    for wanted, name, colour in kinds:
        at = series.sequence[wanted]
        if len(at):
            runs = [(run[0] - 0.5, len(run)) for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)]
            axes.broken_barh(runs, (-0.6, TOP + 0.6), facecolor=colour, alpha=0.35, lw=0, label=name)


def _draw_changes(axes: "Axes", changes: Sequence[Change], first: int, last: int) -> None:
    """A line at each change, over the frames where it may lie, with what changed and how sure that is."""
    middle = (first + last) / 2
    for number, change in enumerate(changes):
        at, right = change.frame - 0.5, change.frame > middle
        label = "change, and where it may lie" if number == 0 else "_"
        axes.axvspan(change.first_frame - 0.5, change.last_frame + 0.5, color="#d95f02", alpha=0.15, lw=0)
        axes.axvline(at, color="#d95f02", lw=1.4, label=label)
        axes.annotate(
            f"{change.before} → {change.after}  p {change.p_changed:.2f}",
            (at, contract.CLASSES - 0.35 - 0.6 * (number % 3)),
            xytext=(-5 if right else 5, 0),
            textcoords="offset points",
            ha="right" if right else "left",
            va="center",
            fontsize=9,
            color="#8c3a00",
            bbox={"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 1},
        )


def _draw_place(axes: "Axes", series: Series, index: int, image: NDArray[Any]) -> None:
    """The surroundings of the column, smoothed for the eye."""
    from matplotlib.patches import Circle
    from matplotlib.patheffects import withStroke

    picture = smoothed(image, series.sampling_A)
    low, high = np.percentile(picture, (0.5, 99.5))
    x, y = series.x_px[index], series.y_px[index]
    half = CROP_A / 2 / series.sampling_A
    axes.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
    axes.add_patch(Circle((x, y), 0.9 / series.sampling_A, fill=False, ec="#ff9f1c", lw=2))
    axes.set_xlim(x - half, x + half)
    axes.set_ylim(y + half, y - half)
    axes.set_facecolor(NOT_IN_FIELD)
    axes.set_xticks([])
    axes.set_yticks([])
    length_nm = scale_bar_nm(CROP_A)
    left, low_y = x - 0.9 * half, y + 0.88 * half
    outline: Any = [withStroke(linewidth=5, foreground="black")]
    right = left + 10 * length_nm / series.sampling_A
    axes.plot([left, right], [low_y, low_y], color="white", lw=3, path_effects=outline)
    name = axes.text(left, low_y - 0.06 * half, f"{length_nm:g} nm", color="white", weight="bold", fontsize=9)
    name.set_path_effects([withStroke(linewidth=2, foreground="black")])
    axes.set_title(f"frame {series.sequence[index]}, smoothed", fontsize=10)
