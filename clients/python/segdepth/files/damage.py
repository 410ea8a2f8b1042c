"""What libraries raise for damaged files."""

DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    MemoryError,
)
"""Of counts, places and names that are wrong. UnicodeDecodeError is a ValueError, as UnreadableFile is;
RecursionError and NotImplementedError are RuntimeErrors, IndexError and KeyError LookupErrors."""
