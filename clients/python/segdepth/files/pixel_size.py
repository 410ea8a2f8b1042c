"""A pixel size from a header's two axes."""

from segdepth.files.movie import Header


def square(x_A: float, y_A: float, source: str) -> Header:
    """The pixel size [Å/px] where both axes have nearly the same; without one, and a word on it, where not."""
    # Headers hold f32, or ratios of integers: seven digits are what was written.
    x_A, y_A = float(f"{x_A:.7g}"), float(f"{y_A:.7g}")
    if not abs(x_A - y_A) <= 0.01 * x_A:
        return Header(source=source, missing=f"pixels of {x_A:g} x {y_A:g} Å ({source}) are not square")
    return Header(x_A, source)
