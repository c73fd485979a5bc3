"""Commands on data: simulate, shard."""

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(simulate)
    app.command()(shard)


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
    wanted = paper_proportions(scale) | {site: count for site, count in own.items() if count is not None}
    scans = {site: count for site, count in wanted.items() if count != 0}
    values = {
        "seed": seed, "scans": scans, "travelling": travelling, "voxel_mm": voxel_mm,
        "scanner_strength": scanner_strength, "tissue_labels": tissue_labels,
    }  # fmt: skip
    made = make(out, Study.read(values, "simulate"), workers=workers)
    counts = ", ".join(f"{site} {count}" for site, count in scans.items())
    print(
        f"{out}: {'made' if made else 'already there'}: {counts} scans, and {travelling} travelling people at each site"
    )


def shard(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE... OUT",
            help="BIDS folders, folders of BIDS site folders, or tables with a path column; last, the folder to write.",
        ),
    ],
    *,
    site: Annotated[
        str | None, typer.Option(help="Name of the site; the folder's (or table's) name if not given.")
    ] = None,
    site_column: Annotated[
        str | None, typer.Option(help="Column that holds the site, when a source holds several.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="What a column is called, NAME=HEADING: path, subject, session, site, split, traveller or a label."
        ),
    ] = None,
    value: Annotated[
        list[str] | None, typer.Option(help="What a value means, NAME:CELL=MEANING, e.g. sex:0=F.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="Labels to keep; age and sex if not given.")] = None,
    require: Annotated[list[str] | None, typer.Option(help="Refuse scans without this label.")] = None,
    size: Annotated[tuple[int, int, int], typer.Option(help="Voxels to which scans are resized.")] = (128, 128, 128),
    keep_every: Annotated[int, typer.Option(help="Keep every which axial slice.")] = 4,
    crop: Annotated[bool, typer.Option("--crop", help="Cut away the empty border first.")] = False,
    normalise: Annotated[
        str, typer.Option(help="Over the `volume` or the `brain` (voxels that are not zero).")
    ] = "volume",
    test: Annotated[float, typer.Option(help="Share of the subjects held out for the test.")] = 0.2,
    val: Annotated[float, typer.Option(help="Share of the subjects held out for validation.")] = 0.1,
    split_salt: Annotated[str, typer.Option(help="Another salt draws another split.")] = "distunlearn",
    secrets: Annotated[
        Path | None, typer.Option(help="Folder of the sites' secrets, never to be passed on; OUT.secrets if not given.")
    ] = None,
    participant_label: Annotated[list[str] | None, typer.Option(help="Only these participants.")] = None,
    decimal_comma: Annotated[bool, typer.Option("--decimal-comma", help="Read 45,5 as 45.5.")] = False,
    age_89plus: Annotated[str, typer.Option(help="What an age of 89+ means: refuse, exclude or 90.")] = "refuse",
    suffix: Annotated[str, typer.Option(help="BIDS suffix of the images.")] = "T1w",
    runs: Annotated[str, typer.Option(help="Take `all` runs of a session, or the `first`.")] = "all",
    orientation_from: Annotated[
        str, typer.Option(help="Affine to follow when they disagree: agree (refuse), sform or qform.")
    ] = "agree",
    shard_megabytes: Annotated[float, typer.Option(help="Size of a shard, about.")] = 128,
    workers: Annotated[int, typer.Option(help="Worker processes; 0 is one a core.")] = 0,
    max_refused: Annotated[int, typer.Option(help="How many scans may be refused.")] = 0,
    show_ids: Annotated[bool, typer.Option("--show-ids", help="Name files on the terminal.")] = False,
) -> None:
    """Turn scans into shards: any lab's BIDS folder or table, checked, private, the same way at every site."""
    from distunlearn.errors import UserError
    from distunlearn.prepare.config import PrepareConfig
    from distunlearn.prepare.run import TooManyRefusedError
    from distunlearn.prepare.run import shard as write
    from distunlearn.prepare.summary import describe

    if len(paths) < 2:
        raise UserError("shard: give at least one source and the folder to write, e.g. `distunlearn shard BIDS OUT`")
    values = {
        "site": site, "site_column": site_column, "columns": _pairs(column or []), "values": _meanings(value or []),
        "labels": label or ["age", "sex"], "require": require or [], "decimal_comma": decimal_comma, "age_89plus": age_89plus,
        "suffix": suffix, "runs": runs, "participants": participant_label or [], "orientation_from": orientation_from,
        "test": test, "val": val, "split_salt": split_salt, "shard_megabytes": shard_megabytes, "workers": workers,
        "max_refused": max_refused, "show_ids": show_ids,
        "preprocessing": {"size": size, "keep_every": keep_every, "crop": "head" if crop else "none", "normalise": normalise},
    }  # fmt: skip
    config = PrepareConfig.read(values, "shard")
    try:
        summary = write(paths[:-1], paths[-1], config, secrets=secrets)
    except TooManyRefusedError as refused:
        print(describe(refused.summary, show_ids=show_ids))
        raise
    print(describe(summary, show_ids=show_ids))


def _pairs(texts: list[str]) -> dict[str, str]:
    """`NAME=HEADING` options as a dict."""
    from distunlearn.errors import UserError

    for text in texts:
        if "=" not in text:
            raise UserError(f"{text!r}: write it as NAME=HEADING, e.g. age=AGE_AT_SCAN")
    return {name.strip(): heading for name, _, heading in (text.partition("=") for text in texts)}


def _meanings(texts: list[str]) -> dict[str, dict[str, str]]:
    """`NAME:CELL=MEANING` options as a dict a name."""
    meanings: dict[str, dict[str, str]] = {}
    for name_and_cell, meaning in _pairs(texts).items():
        name, _, cell = name_and_cell.partition(":")
        meanings.setdefault(name, {})[cell] = meaning
    return meanings
