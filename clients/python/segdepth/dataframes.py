"""Fields of a table, arrays by name, as pandas and arrow have them.

Both are optional: pip install 'segdepth[pandas]'.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import NotInstalled

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Fields = Mapping[str, NDArray[Any]]

UNITS = {
    "x_px": "px",
    "y_px": "px",
    "x_A": "Å",
    "y_A": "Å",
    "count": "atoms",
    "lo90": "atoms",
    "hi90": "atoms",
}
"""Of the fields that have one."""

_MISSING = "{} needs: pip install 'segdepth[pandas]'"


def to_pandas(fields: Fields) -> "pd.DataFrame":
    """A row a column of atoms. Counts are int64: pandas subtracts bytes without a sign. NotInstalled without pandas."""
    try:
        import pandas as pd
    except ImportError as error:
        raise NotInstalled(_MISSING.format("pandas")) from error
    return pd.DataFrame(
        {name: array.astype(np.int64) if array.dtype == np.uint8 else array for name, array in fields.items()}
    )


def to_arrow(fields: Fields) -> "pa.Table":
    """A row a column of atoms; the metadata of a field holds its unit. NotInstalled without pyarrow."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise NotInstalled(_MISSING.format("arrow")) from error
    arrays = {name: _arrow(array) for name, array in fields.items()}
    schema = pa.schema(
        [
            pa.field(name, array.type, metadata={"unit": UNITS[name]} if name in UNITS else None)
            for name, array in arrays.items()
        ]
    )
    return pa.Table.from_arrays(list(arrays.values()), schema=schema)


def _arrow(array: NDArray[Any]) -> Any:
    import pyarrow as pa

    if array.dtype.kind == "U":  # The few names of elements and verdicts, again and again.
        return pa.array(array.tolist(), pa.dictionary(pa.int32(), pa.string()))
    return pa.array(array)


def html(fields: Fields) -> str | None:
    """For a notebook: as pandas shows it, with its first and last rows. None without pandas."""
    try:
        shown: str = to_pandas(fields).to_html(max_rows=10, show_dimensions=True, float_format="{:.4g}".format)
    except NotInstalled:
        return None
    return shown
