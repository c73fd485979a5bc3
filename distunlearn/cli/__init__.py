"""The commands: each parses its options, imports what it needs inside, and calls one function."""

import os
import sys

import typer

from distunlearn.cli import data, evidence, model, training
from distunlearn.errors import UserError

app = typer.Typer(
    name="distunlearn",
    help="Train on brain MRI of many scanners, unlearn the scanner, and prove it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for part in (data, training, evidence, model):
    part.add_to(app)


def run() -> None:
    """Run the command line; a `UserError` becomes one line and exit status 2 (its traceback with DISTUNLEARN_DEBUG=1)."""
    try:
        app(prog_name="distunlearn")
    except UserError as error:
        if os.environ.get("DISTUNLEARN_DEBUG"):
            raise
        print(f"distunlearn: {error}", file=sys.stderr)
        sys.exit(2)
