"""Commands on evidence: evaluate, probe, report."""

import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
