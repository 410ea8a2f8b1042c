"""A picture of a frame: what was seen, how deep it is, and how sure that is."""

import io
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import NotInstalled
from segdepth.export.smoothing import SIGMA_A, is_noisy, smoothed
from segdepth.results import FrameResult, Status
from segdepth_protos import contract

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CERTAIN = 0.5
"""Columns whose count has a lower probability are drawn hollow, as are those abstained."""

PANEL_INCHES = 5.0
PANEL_PX, PANEL_PX_MOST = 500, 2000
"""Side of a panel [px]: as wide as a marker on every column needs, within these limits."""

MARKER_A, MARKER_PX = 0.9, (5.5, 14.0)
"""Diameter of a marker: in the specimen, so that columns 1.2 Å apart do not touch, within these limits [px]."""

NOT_RECORDED = "lightgray"
"""Colour of padding and gaps in the maps."""

TITLE_CHARACTERS = 46
"""Of a line of the title, for each panel that is beside another."""

_ROUND_LENGTHS_NM = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_MARKERS = "osD^v"
"""Of the model's species, one after the other."""


def png(image: NDArray[Any], result: FrameResult, title: str = "") -> bytes:
    """Frame, depth with its columns, and confidence, with a scale bar, as a PNG.

    Beside a frame of a low dose there is the same one smoothed for the eye. The maps must have been asked for
    (Detail(depth_map=True, confidence_map=True)); without them their panel is empty. Raises NotInstalled without
    matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NotInstalled("pictures need: pip install 'segdepth[export]'") from error
    noisy = is_noisy(result)
    rows, across = (2, 2) if noisy else (1, 3)
    lines = _title(title, result, TITLE_CHARACTERS * across)
    height = rows * (PANEL_INCHES + 0.3) + 0.22 * len(lines) + 0.3
    dpi = _panel_px(result) / PANEL_INCHES
    figure = Figure(figsize=(across * (PANEL_INCHES + 0.5), height), dpi=dpi, layout="compressed")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, across).ravel()
    recorded = _recorded(image, result)
    _draw_frame(panels[0], image, recorded, result.sampling_A)
    panels[0].set_title("frame")
    if noisy:
        _draw_frame(panels[1], smoothed(image, result.sampling_A), recorded, result.sampling_A)
        panels[1].set_title(f"smoothed for display (Gaussian, σ {SIGMA_A:g} Å)")
    _draw_depth(figure, panels[-2], image, result)
    _draw_confidence(figure, panels[-1], result)
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlim(-0.5, image.shape[1] - 0.5)
        axes.set_ylim(image.shape[0] - 0.5, -0.5)
    figure.suptitle("\n".join(lines))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _panel_px(result: FrameResult) -> float:
    """Side of a panel in which a marker of its least size is not larger than MARKER_A."""
    field_A = max(result.shape) * result.sampling_A
    return float(np.clip(field_A / MARKER_A * MARKER_PX[0], PANEL_PX, PANEL_PX_MOST))


def _title(title: str, result: FrameResult, width: int) -> list[str]:
    """What the frame is and the verdict on it, and a line or more for each reason; whole, however long."""
    model = f"{result.model.family} {result.model.version}"
    head = " · ".join(part for part in (title, model, result.domain.status.value) if part)
    reasons = [check.message or check.name for check in result.domain.checks if check.status is not Status.OK]
    return [line for text in (head, *reasons) for line in textwrap.wrap(text, width)]


def _recorded(image: NDArray[Any], result: FrameResult) -> NDArray[np.bool_]:
    """Pixels that hold a number, and that the answer does not count as padding or a gap."""
    finite: NDArray[np.bool_] = np.isfinite(image)
    if result.depth_map is None or result.refused:
        return finite
    recorded: NDArray[np.bool_] = finite & (result.depth_map != contract.REFUSED_DEPTH)
    return recorded


def _draw_frame(axes: "Axes", image: NDArray[Any], recorded: NDArray[np.bool_], sampling_A: float) -> None:
    finite = image[recorded & np.isfinite(image)].astype("f4")
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0, 1)
    axes.imshow(image.astype("f4"), cmap="gray", vmin=low, vmax=high)
    _draw_scale_bar(axes, image.shape, sampling_A)


def _draw_scale_bar(axes: "Axes", shape: tuple[int, ...], sampling_A: float) -> None:
    height, width = shape
    nm_per_px = sampling_A / 10
    length_nm = scale_bar_nm(width * sampling_A)
    x, y = width * 0.05, height * 0.93
    axes.plot([x, x + length_nm / nm_per_px], [y, y], color="white", lw=4, solid_capstyle="butt")
    label = axes.text(x, y - height * 0.02, f"{length_nm:g} nm", color="white", va="bottom", weight="bold")
    label.set_bbox({"facecolor": "black", "alpha": 0.4, "lw": 0})


def scale_bar_nm(width_A: float) -> float:
    """A round length [nm] of at most a third of a field that is `width_A` wide [Å]."""
    fitting = [length for length in _ROUND_LENGTHS_NM if 10 * length <= width_A / 3]
    return fitting[-1] if fitting else _ROUND_LENGTHS_NM[0]


def _draw_depth(figure: "Figure", axes: "Axes", image: NDArray[Any], result: FrameResult) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm

    counts = colormaps["viridis"].resampled(11)
    norm = BoundaryNorm(np.arange(-0.5, 11), 11)
    if result.depth_map is not None and not result.refused:
        nothing = result.depth_map == contract.REFUSED_DEPTH
        counts.set_bad(NOT_RECORDED)
        axes.imshow(np.ma.masked_array(result.depth_map, nothing), cmap=counts, norm=norm)
    else:
        axes.imshow(np.zeros(image.shape, "u1"), cmap="gray", vmin=0, vmax=1)
    axes.set_title("refused: no columns" if result.refused else "atoms per column")
    bar = figure.colorbar(ScalarMappable(norm, counts), ax=axes, ticks=range(11), fraction=0.046)
    bar.ax.set_yticklabels([*map(str, range(10)), "≥10"])
    if len(result.columns):
        _draw_columns(axes, result, counts(np.arange(11)))
        _draw_legend(figure, result.columns.elements)


def _draw_columns(axes: "Axes", result: FrameResult, colours: NDArray[Any]) -> None:
    columns = result.columns
    sure = (columns.p_count >= CERTAIN) & ~columns.abstained
    panel_px = _panel_px(result)
    marker_px = np.clip(MARKER_A / (max(result.shape) * result.sampling_A) * panel_px, *MARKER_PX)
    size = float(marker_px) * 72 * PANEL_INCHES / panel_px  # in points
    for number in range(len(columns.elements)):
        for solid in (True, False):
            drawn = (columns.species == number + 1) & (sure == solid)
            colour = colours[columns.count[drawn]]
            axes.scatter(
                columns.x_px[drawn],
                columns.y_px[drawn],
                s=size**2,
                marker=_MARKERS[number % len(_MARKERS)],
                # The map has the count's colour there: what is hollow shows that of vacuum inside.
                facecolors=colour if solid else colours[0],
                edgecolors="white" if solid else colour,
                linewidths=size * (0.1 if solid else 0.25),
            )


def _draw_legend(figure: "Figure", elements: tuple[str, ...]) -> None:
    """What the markers mean, below the panels."""
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"ls": "", "ms": 6, "color": "dimgray"}
    known = [
        Line2D([], [], marker=_MARKERS[number % len(_MARKERS)], label=name, **look)
        for number, name in enumerate(elements)
    ]
    unsure = Line2D([], [], marker="o", mfc="none", mew=1.5, label="hollow: unsure (p < 0.5 or abstained)", **look)
    figure.legend(handles=[*known, unsure], loc="outside lower center", ncols=len(known) + 1, frameon=False)


def _draw_confidence(figure: "Figure", axes: "Axes", result: FrameResult) -> None:
    from matplotlib import colormaps

    confidence = np.zeros(result.shape, "f4") if result.confidence_map is None else result.confidence_map
    colours = colormaps["magma"].copy()
    colours.set_bad(NOT_RECORDED)
    shown = axes.imshow(confidence, cmap=colours, vmin=0, vmax=1)
    axes.set_title("confidence")
    figure.colorbar(shown, ax=axes, fraction=0.046)
