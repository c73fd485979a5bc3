"""The command shard: its options are many, so it has a file of its own."""

from pathlib import Path
from typing import Annotated

import typer

WHO, VOXELS, SPLIT, PRIVACY = "What is where", "Volumes", "Splits", "Privacy"


def shard(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE... OUT",
            help="BIDS folders, folders of BIDS site folders, tables with a path column, or a recipe; last, the folder to write.",
        ),
    ],
    *,
    data: Annotated[Path | None, typer.Option(help="Where the data set of a recipe lies.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check tables and headers, print what would be kept and dropped, write nothing."
        ),
    ] = False,
    site: Annotated[
        str | None,
        typer.Option(help="Name of the site; the folder's or table's name if not given.", rich_help_panel=WHO),
    ] = None,
    site_column: Annotated[
        str | None, typer.Option(help="Column that holds the site, when a source holds several.", rich_help_panel=WHO)
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="What a column is called, NAME=HEADING; NAME is path, subject, session, site, split, traveller, segmentation or a label.",
            rich_help_panel=WHO,
        ),
    ] = None,
    value: Annotated[
        list[str] | None, typer.Option(help="What a value means, NAME:CELL=MEANING, e.g. sex:0=F.", rich_help_panel=WHO)
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Labels to keep; age and sex if not given.", rich_help_panel=WHO)
    ] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="Refuse scans without this label.", rich_help_panel=WHO)
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(help="Columns of a table of features instead of images, e.g. '*_thickness'.", rich_help_panel=WHO),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="Where the images of a folder that is not BIDS are, e.g. 'IXI{subject}-{site}-*-T1.nii.gz'.",
            rich_help_panel=WHO,
        ),
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="Table of the people, below that folder.", rich_help_panel=WHO)
    ] = None,
    match: Annotated[
        list[str] | None,
        typer.Option(
            help="Which row belongs to an image, HEADING=TEMPLATE, e.g. 'ID=OAS1_{subject}_MR{session}'.",
            rich_help_panel=WHO,
        ),
    ] = None,
    suffix: Annotated[
        str | None, typer.Option(help="BIDS suffix of the images; T1w if not given.", rich_help_panel=WHO)
    ] = None,
    segmentation: Annotated[
        str | None, typer.Option(help="BIDS suffix of segmentations to take along, e.g. dseg.", rich_help_panel=WHO)
    ] = None,
    runs: Annotated[
        str | None, typer.Option(help="Take `all` runs of a session (default), or the `first`.", rich_help_panel=WHO)
    ] = None,
    participant_label: Annotated[
        list[str] | None, typer.Option(help="Only these participants.", rich_help_panel=WHO)
    ] = None,
    decimal_comma: Annotated[
        bool | None, typer.Option("--decimal-comma", help="Read 45,5 as 45.5.", rich_help_panel=WHO)
    ] = None,
    age_89plus: Annotated[
        str | None, typer.Option(help="What an age of 89+ means: refuse (default), exclude or 90.", rich_help_panel=WHO)
    ] = None,
    size: Annotated[
        tuple[int, int, int] | None,
        typer.Option(help="Voxels to which scans are resized; 128 128 128 if not given.", rich_help_panel=VOXELS),
    ] = None,
    keep_every: Annotated[
        int | None, typer.Option(help="Keep every which axial slice; 4 if not given.", rich_help_panel=VOXELS)
    ] = None,
    crop: Annotated[
        bool, typer.Option("--crop", help="Cut away the empty border first.", rich_help_panel=VOXELS)
    ] = False,
    normalise: Annotated[
        str | None,
        typer.Option(
            help="Over the `volume` (default) or the `brain` (voxels that are not zero).", rich_help_panel=VOXELS
        ),
    ] = None,
    extract_brain: Annotated[
        bool,
        typer.Option("--extract-brain", help="Keep the brain only (deepbet; extra `brain`).", rich_help_panel=VOXELS),
    ] = False,
    orientation_from: Annotated[
        str | None,
        typer.Option(
            help="Affine to follow when a header's two disagree: agree (refuse; default), sform or qform; or the axes of files that state none (ANALYZE), e.g. LAS.",
            rich_help_panel=VOXELS,
        ),
    ] = None,
    test: Annotated[
        float | None,
        typer.Option(help="Share of the subjects held out for the test; 0.2 if not given.", rich_help_panel=SPLIT),
    ] = None,
    val: Annotated[
        float | None,
        typer.Option(help="Share of the subjects held out for validation; 0.1 if not given.", rich_help_panel=SPLIT),
    ] = None,
    split_salt: Annotated[
        str | None, typer.Option(help="Another salt draws another split.", rich_help_panel=SPLIT)
    ] = None,
    split_file: Annotated[
        Path | None, typer.Option(help="Table of participants and their splits (and sites).", rich_help_panel=SPLIT)
    ] = None,
    secrets: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the sites' secrets, never to be passed on; OUT.secrets if not given.",
            rich_help_panel=PRIVACY,
        ),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(help="Write who is behind each key into this file, mode 600.", rich_help_panel=PRIVACY),
    ] = None,
    show_ids: Annotated[
        bool, typer.Option("--show-ids", help="Name files and participants on the terminal.", rich_help_panel=PRIVACY)
    ] = False,
    max_refused: Annotated[
        int | None, typer.Option(help="How many scans may be refused before this fails; 0 if not given.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; one a core if not given.")] = None,
    shard_megabytes: Annotated[float | None, typer.Option(help="Size of a shard, about; 128 if not given.")] = None,
) -> None:
    """Turn scans into shards: any lab's BIDS folder or table, checked, private, the same way at every site."""
    from distunlearn.prepare import TooManyRefusedError, options, preview, recipe, summary
    from distunlearn.prepare.run import shard as write

    voxels = {
        "size": size, "keep_every": keep_every, "normalise": normalise,
        "crop": "head" if crop else None, "brain_extraction": "deepbet" if extract_brain else None,
    }  # fmt: skip
    given = {
        "site": site, "site_column": site_column, "labels": label, "require": require, "features": features,
        "images": images, "table": table, "suffix": suffix, "segmentation": segmentation, "runs": runs,
        "participants": participant_label, "decimal_comma": decimal_comma, "age_89plus": age_89plus,
        "orientation_from": orientation_from, "test": test, "val": val, "split_salt": split_salt,
        "max_refused": max_refused, "workers": workers, "shard_megabytes": shard_megabytes,
        "columns": options.read_pairs(column or [], "NAME=HEADING, e.g. age=AGE_AT_SCAN"),
        "values": options.read_meanings(value or []),
        "match": options.read_pairs(match or [], "HEADING=TEMPLATE, e.g. 'ID=OAS1_{subject}_MR{session}'"),
    }  # fmt: skip
    request = options.read_request(paths, given, voxels, data=data)
    if dry_run:
        looked = preview.preview(request.sources, request.config, split_file=split_file)
        remarks = recipe.remarks(request.recipe, looked.found, looked.subjects) if request.recipe else []
        print(summary.describe_preview(looked, remarks, allowed=request.config.max_refused, show_ids=show_ids))
        return
    try:
        done = write(
            request.sources, request.out, request.config, secrets=secrets, split_file=split_file, mapping=mapping
        )
    except TooManyRefusedError as error:
        print(summary.describe_summary(error.summary, show_ids=show_ids))
        raise
    remarks = recipe.remarks(request.recipe, done.found, done.subjects) if request.recipe else []
    print(summary.describe_summary(done, remarks, show_ids=show_ids))
