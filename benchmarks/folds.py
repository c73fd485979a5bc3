"""Deal the people of a table of features into folds, a table a fold, for `distunlearn shard`.

    python benchmarks/folds.py TABLE.csv OUT [--folds 5] [--deal 0] [--first 0] [--development]
    distunlearn shard OUT/0.csv SHARDS-0 --site-column site --column subject=sub_id --label age --features 'm_*'

The table has columns sub_id, age, site and features. People are dealt within their site, so that every site has its
share of each fold: fold n is the test split of OUT/(first + n).csv, the fold after it the validation split. With
`--development` both are the validation split: settings are chosen on such a study, which has no test people to look at.
Features are called m_NAME. Left out: sites with fewer than ten people, people without an age, rows that are equal to another's, constant columns.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

ABOUT = {"sub_id", "age", "sex", "site"}
"""Columns that are no features."""
FEWEST = 10
"""People of a site."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--deal", type=int, default=0, help="another deal, other folds")
    parser.add_argument("--first", type=int, default=0, help="number of the first fold's table")
    parser.add_argument("--development", action="store_true", help="no test split")
    given = parser.parse_args()
    people = dealt(pd.read_csv(given.table), folds=given.folds, deal=given.deal)
    given.out.mkdir(parents=True, exist_ok=True)
    for fold in range(given.folds):
        after = (people["fold"] - fold) % given.folds
        split = np.select([after == 0, after == 1], ["val" if given.development else "test", "val"], "train")
        table = people.drop(columns=["fold", "sex"]).assign(split=split)
        table.to_csv(given.out / f"{given.first + fold}.csv", index=False)
    print(f"{len(people)} people of {people['site'].nunique()} sites, {given.folds} folds")


def dealt(people: pd.DataFrame, *, folds: int, deal: int) -> pd.DataFrame:
    """The people who are kept, with their `fold`."""
    people = kept(people, deal=deal)
    constant = [column for column in people if column not in ABOUT and people[column].nunique(dropna=False) < 2]
    people = people.drop(columns=constant).rename(columns=lambda name: name if name in ABOUT else f"m_{name}").copy()
    return people.assign(fold=people.groupby("site").cumcount() % folds)


def kept(people: pd.DataFrame, *, deal: int) -> pd.DataFrame:
    """Those of large sites, of known age and with features of their own, by site, in the order of the deal."""
    people = people.drop_duplicates(subset=[column for column in people if column not in ABOUT])
    people = people[people.groupby("site")["site"].transform("size") >= FEWEST].dropna(subset=["age"])
    order = np.random.default_rng(deal).permutation(len(people))
    return people.iloc[order].sort_values("site", kind="stable").reset_index(drop=True).copy()


if __name__ == "__main__":
    main()
