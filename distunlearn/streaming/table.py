"""One site's table of scans: read as text, checked row by row, labels turned into numbers where all are numbers."""

import csv
import io

import numpy as np
import pandas as pd
import xxhash

from distunlearn.errors import UserError
from distunlearn.shard_format import MISSING, SPLITS, TABLE, Manifest

INTEGERS = ("session", "offset", "bytes")
DECIMALS = ("scale", "mean", "sd")
NOT_DRAWN = -1
"""`segmentation_offset` of a scan without a segmentation, as numbers."""
REMEDY = "run `distunlearn shard` for this site again"


def parse_table(manifest: Manifest, text: bytes) -> pd.DataFrame:
    """Read a site's table and check it against the site's manifest.

    Args:
        manifest: of the same site.
        text: the table's bytes.

    Returns:
        One row a scan: `PLACE_COLUMNS` with numbers as numbers, and the labels as text with `None` where missing.

    Raises:
        UserError: the table is not the one that the manifest was written with, or a row breaks a rule.
    """
    if xxhash.xxh3_128_hexdigest(text) != manifest.table_xxh3:
        raise UserError(
            f"site {manifest.site}: {TABLE} is not the one that the manifest was written with (its digest differs); {REMEDY}"
        )
    table = pd.read_csv(
        io.BytesIO(text), sep="\t", dtype=object, keep_default_na=False, quoting=csv.QUOTE_NONE, index_col=False
    )
    if (wanted := list(manifest.columns)) != list(table.columns):
        raise UserError(
            f"site {manifest.site}: {TABLE} has the columns {', '.join(table.columns)}, not {', '.join(wanted)}; {REMEDY}"
        )
    try:
        table = table.astype(dict.fromkeys(INTEGERS, "int64") | dict.fromkeys(DECIMALS, "float64"))
    except ValueError as error:
        raise UserError(
            f"site {manifest.site}: {TABLE} holds something that is no number ({error}); {REMEDY}"
        ) from None
    if manifest.segmentation:
        places = table["segmentation_offset"].replace(MISSING, str(NOT_DRAWN))
        table["segmentation_offset"] = places.astype("int64")
    _check_rows(manifest, table)
    labels = list(manifest.labels)
    table[labels] = table[labels].astype(object).where(table[labels] != MISSING, None)
    return table


def _check_rows(manifest: Manifest, table: pd.DataFrame) -> None:
    shards = {shard.name: shard for shard in manifest.shards}
    ends = table["shard"].map({name: shard.bytes for name, shard in shards.items()})
    splits = table["shard"].map({name: shard.split for name, shard in shards.items()})
    scan_bytes = int(np.prod(manifest.shape)) * np.dtype(manifest.dtype).itemsize
    rules = {
        "has a key that another scan has": table["key"].duplicated(keep=False),
        f"has a split other than {', '.join(SPLITS)}": ~table["split"].isin(SPLITS),
        "names a shard that the manifest does not list": ends.isna(),
        "is of another split than its shard": splits != table["split"],
        f"does not have the {scan_bytes} bytes of the site's shape and type": table["bytes"] != scan_bytes,
        "lies beyond the end of its shard": (table["offset"] < 0) | (table["offset"] + table["bytes"] > ends),
        "is of a person who is in another split too": table.groupby("subject")["split"].transform("nunique") > 1,
        "has a scale that is not a positive number": ~(np.isfinite(table["scale"]) & (table["scale"] > 0)),
    }
    for rule, broken in rules.items():
        if broken.any():
            key = table["key"][broken].iloc[0]
            raise UserError(f"site {manifest.site}: scan {key} {rule} ({int(broken.sum())} such scans); {REMEDY}")
    held = table["shard"].value_counts()
    for shard in manifest.shards:
        if held.get(shard.name, 0) != shard.samples:
            raise UserError(
                f"site {manifest.site}: {TABLE} has {held.get(shard.name, 0)} scans of {shard.name}, the manifest {shard.samples}; {REMEDY}"
            )


def as_numbers(labels: pd.Series) -> pd.Series:
    """A label as floats, NaN where missing, when every value that is there is a number; otherwise as it was."""
    there = labels.notna()
    numbers = pd.to_numeric(labels.where(there, np.nan), errors="coerce").astype("float64")
    return numbers if bool(np.isfinite(numbers[there]).all()) else labels
