"""Commands on data: simulate, shard."""

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(simulate)


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to make; one BIDS data set a site is written into it.")],
    *,
    scale: Annotated[float, typer.Option(help="Scans a site, as a share of the paper's 6885, 1030 and 503.")] = 0.15,
    biobank: Annotated[int | None, typer.Option(help="Scans of this site instead of its share.")] = None,
    oasis: Annotated[int | None, typer.Option(help="Scans of this site instead of its share.")] = None,
    whitehall: Annotated[int | None, typer.Option(help="Scans of this site instead of its share.")] = None,
    travelling: Annotated[int, typer.Option(help="People who are scanned at every site, besides those.")] = 40,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 0,
    voxel_mm: Annotated[float, typer.Option(help="Size of a voxel in millimetres.")] = 4.0,
    scanner_strength: Annotated[
        float, typer.Option(help="How far the scanners are apart; at 0 they are the same.")
    ] = 1.0,
    tissue_labels: Annotated[bool, typer.Option("--tissue-labels", help="Write each scan's true tissues too.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core if not given.")] = None,
) -> None:
    """Simulate a study of three sites, with people who travel between them: a truth to test against."""
    from distunlearn.simulate import Study, paper_proportions
    from distunlearn.simulate import simulate as make

    own = {"biobank": biobank, "oasis": oasis, "whitehall": whitehall}
    scans = paper_proportions(scale) | {site: count for site, count in own.items() if count is not None}
    values = {
        "seed": seed, "scans": scans, "travelling": travelling, "voxel_mm": voxel_mm,
        "scanner_strength": scanner_strength, "tissue_labels": tissue_labels,
    }  # fmt: skip
    made = make(out, Study.read(values, "simulate"), workers=workers)
    counts = ", ".join(f"{site} {count}" for site, count in scans.items())
    print(
        f"{out}: {'made' if made else 'already there'}: {counts} scans, and {travelling} travelling people at each site"
    )
