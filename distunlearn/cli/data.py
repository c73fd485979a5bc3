"""Commands on data: simulate, shard, inspect, verify."""

from pathlib import Path
from typing import Annotated

import typer

from distunlearn.cli.shard import shard


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(simulate)
    app.command()(shard)
    app.command()(inspect)
    app.command()(verify)


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to make; one BIDS data set a site is written into it.")],
    *,
    scale: Annotated[float, typer.Option(help="Scans a site, as a share of the paper's 6885, 1030 and 503.")] = 0.15,
    biobank: Annotated[
        int | None, typer.Option(help="Scans of this site instead of its share; 0 leaves it out.")
    ] = None,
    oasis: Annotated[int | None, typer.Option(help="Scans of this site instead of its share; 0 leaves it out.")] = None,
    whitehall: Annotated[
        int | None, typer.Option(help="Scans of this site instead of its share; 0 leaves it out.")
    ] = None,
    hospitals: Annotated[int, typer.Option(min=0, max=99, help="Sites more, with scanners and ages at random.")] = 0,
    scans_each: Annotated[int, typer.Option(min=1, help="Scans of each of these hospitals.")] = 200,
    travelling: Annotated[int, typer.Option(help="People who are scanned at every site, besides those.")] = 40,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 0,
    voxel_mm: Annotated[float, typer.Option(help="Size of a voxel in millimetres.")] = 4.0,
    scanner_strength: Annotated[
        float, typer.Option(help="How far the scanners are apart; at 0 they are the same.")
    ] = 1.0,
    tissue_labels: Annotated[bool, typer.Option("--tissue-labels", help="Write each scan's true tissues too.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core if not given.")] = None,
) -> None:
    """Simulate a study of three sites or more, with people who travel between them: a truth to test against."""
    from distunlearn.simulate import Study, paper_proportions
    from distunlearn.simulate import simulate as make

    own = {"biobank": biobank, "oasis": oasis, "whitehall": whitehall}
    wanted = paper_proportions(scale) | {site: count for site, count in own.items() if count is not None}
    scans = {site: count for site, count in wanted.items() if count != 0}
    scans |= {f"hospital-{number:02d}": scans_each for number in range(1, hospitals + 1)}
    values = {
        "seed": seed, "scans": scans, "travelling": travelling, "voxel_mm": voxel_mm,
        "scanner_strength": scanner_strength, "tissue_labels": tissue_labels,
    }  # fmt: skip
    made = make(out, Study.read(values, "simulate"), workers=workers)
    counts = ", ".join(f"{site} {count}" for site, count in scans.items())
    print(
        f"{out}: {'made' if made else 'already there'}: {counts} scans, and {travelling} travelling people at each site"
    )


def inspect(
    shards: Annotated[Path, typer.Argument(help="What `distunlearn shard` wrote.")],
    *,
    label: Annotated[str, typer.Option(help="Label by which sites are compared.")] = "age",
    html: Annotated[Path | None, typer.Option(help="Page to write; SHARDS/inspect.html if not given.")] = None,
    scans: Annotated[int, typer.Option(min=1, help="Scans a site whose voxels are looked at.")] = 500,
) -> None:
    """Look at shards before training: counts, labels, the overlap of sites, odd scans, pictures."""
    from rich.console import Console

    from distunlearn.report import inspection

    found = inspection.look(shards, label=label, most=scans)
    console = Console()
    console.print(inspection.in_words(found))
    console.print(f"{inspection.write_page(found, html or shards / 'inspect.html')} shows it with pictures.")


def verify(shards: Annotated[Path, typer.Argument(help="What `distunlearn shard` wrote.")]) -> None:
    """Check every byte of shards against its digest, and that nobody is in two splits."""
    from distunlearn.errors import UserError
    from distunlearn.prepare.verify import verify as check

    scans, damages = check(shards)
    for damage in damages:
        print(f"{damage.site}: {damage.what}: {damage.problem}")
    if damages:
        raise UserError(f"{shards}: {len(damages)} faults in {scans} scans, as listed")
    print(f"{shards}: {scans} scans, every byte as it was written")
