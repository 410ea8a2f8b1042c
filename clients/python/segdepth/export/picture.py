"""A picture of a frame: what was seen, how deep it is, and how sure that is."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import NotInstalled
from segdepth.results import FrameResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CERTAIN = 0.5
"""Columns whose count has a lower probability are drawn hollow, as are those abstained."""

_ROUND_LENGTHS_NM = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_MARKERS = "osD^v"
"""Of the model's species, one after the other."""


def png(image: NDArray[Any], result: FrameResult, title: str = "") -> bytes:
    """Frame, depth with its columns, and confidence, with a scale bar, as a PNG.

    The maps must have been asked for (Detail(depth_map=True, confidence_map=True)); without them their panel is empty.
    Raises NotInstalled without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NotInstalled("pictures need: pip install 'segdepth[export]'") from error
    figure = Figure(figsize=(15, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    seen, depth, confidence = figure.subplots(1, 3)
    _draw_frame(seen, image, result.sampling_A)
    _draw_depth(figure, depth, image, result)
    _draw_confidence(figure, confidence, result)
    for axes, name in ((seen, "frame"), (depth, "atoms per column"), (confidence, "confidence")):
        axes.set_title(name)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlim(-0.5, image.shape[1] - 0.5)
        axes.set_ylim(image.shape[0] - 0.5, -0.5)
    figure.suptitle(" · ".join(part for part in (title, _verdict(result)) if part))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _verdict(result: FrameResult) -> str:
    verdict = result.domain
    why = verdict.why()
    model = f"{result.model.family} {result.model.version}"
    return f"{model} · {verdict.status.value}{': ' + why if why else ''}"


def _draw_frame(axes: "Axes", image: NDArray[Any], sampling_A: float) -> None:
    finite = image[np.isfinite(image)].astype("f4")
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0, 1)
    axes.imshow(image.astype("f4"), cmap="gray", vmin=low, vmax=high)
    _draw_scale_bar(axes, image.shape, sampling_A)


def _draw_scale_bar(axes: "Axes", shape: tuple[int, ...], sampling_A: float) -> None:
    height, width = shape
    nm_per_px = sampling_A / 10
    fitting = [length for length in _ROUND_LENGTHS_NM if length / nm_per_px <= width / 3]
    length_nm = fitting[-1] if fitting else _ROUND_LENGTHS_NM[0]
    x, y = width * 0.05, height * 0.93
    axes.plot([x, x + length_nm / nm_per_px], [y, y], color="white", lw=4, solid_capstyle="butt")
    label = axes.text(x, y - height * 0.02, f"{length_nm:g} nm", color="white", va="bottom", weight="bold")
    label.set_bbox({"facecolor": "black", "alpha": 0.4, "lw": 0})


def _draw_depth(figure: "Figure", axes: "Axes", image: NDArray[Any], result: FrameResult) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm

    counts = colormaps["viridis"].resampled(11)
    norm = BoundaryNorm(np.arange(-0.5, 11), 11)
    if result.depth_map is not None and not result.refused:
        axes.imshow(result.depth_map, cmap=counts, norm=norm)
    else:
        axes.imshow(np.zeros(image.shape, "u1"), cmap="gray", vmin=0, vmax=1)
    bar = figure.colorbar(ScalarMappable(norm, counts), ax=axes, ticks=range(11), fraction=0.046)
    bar.ax.set_yticklabels([*map(str, range(10)), "≥10"])
    _draw_columns(axes, result, counts(np.arange(11)))


def _draw_columns(axes: "Axes", result: FrameResult, colours: NDArray[Any]) -> None:
    columns = result.columns
    if not len(columns):
        return
    sure = (columns.p_count >= CERTAIN) & ~columns.abstained
    for number in range(len(columns.elements)):
        for solid in (True, False):
            drawn = (columns.species == number + 1) & (sure == solid)
            colour = colours[columns.count[drawn]]
            axes.scatter(
                columns.x_px[drawn],
                columns.y_px[drawn],
                s=18,
                marker=_MARKERS[number % len(_MARKERS)],
                facecolors=colour if solid else "none",
                edgecolors="white" if solid else colour,
                linewidths=0.5 if solid else 1.2,
            )


def _draw_confidence(figure: "Figure", axes: "Axes", result: FrameResult) -> None:
    confidence = np.zeros(result.shape, "f4") if result.confidence_map is None else result.confidence_map
    shown = axes.imshow(confidence, cmap="magma", vmin=0, vmax=1)
    figure.colorbar(shown, ax=axes, fraction=0.046)
