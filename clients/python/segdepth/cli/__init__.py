"""The command line: `segdepth --help`."""

import sys


def main() -> None:
    """Entry point of `segdepth`."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        print(f"segdepth: {error}; the command line needs: pip install 'segdepth[cli]'", file=sys.stderr)
        sys.exit(2)
    from segdepth.cli.app import app

    app()
