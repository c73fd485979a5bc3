"""Commands that train: train."""

import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
