"""Run the command line as a module or as a folder: `accelerate launch distunlearn train …` does the latter."""

import sys
from pathlib import Path


def main() -> None:
    """Start the command line, whichever way Python was pointed at this package."""
    here = Path(__file__).resolve().parent
    # A folder run by path is put first on sys.path, where our files would shadow other packages' modules.
    sys.path[:] = [str(here.parent), *(entry for entry in sys.path if Path(entry or ".").resolve() != here)]
    from distunlearn.cli import run

    run()


if __name__ == "__main__":
    main()
