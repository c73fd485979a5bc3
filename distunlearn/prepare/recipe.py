"""Recipes: one YAML a data set that says where its scans are and what its columns are called, never what is done to voxels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator

from distunlearn.errors import UserError
from distunlearn.strict import Strict

SETTINGS = frozenset({
    "site", "site_column", "columns", "values", "labels", "decimal_comma", "age_89plus", "suffix", "segmentation",
    "runs", "images", "table", "match", "features", "orientation_from",
})  # fmt: skip
"""What a recipe may set. Preprocessing is not among them: processing that differs by site is a scanner effect itself."""

TOTAL = "total"


class Expected(Strict):
    """What the data set's own description says that there is."""

    subjects: int | None = None
    """People."""
    scans: int | None = None
    """Of all their sessions and runs."""
    of: str = ""
    """Of which release or collection, where there are several."""


class Recipe(Strict):
    """A data set, as the people who collected it hand it out."""

    name: str
    about: str
    """One or two sentences: who was scanned, where, on what."""
    url: str
    """Page of the data set."""
    access: Literal["open", "registration", "application"]
    """How it is got: downloaded, after an agreement, or after an application."""
    terms: str
    """The terms of use, in short; what counts is what the data set's own page says."""
    cite: str
    """What to cite."""
    verified: bool
    """True only where the recipe was tried on the real files of the whole data set."""
    tried: str
    """On what it was tried, in words; `nothing` is an honest answer."""
    get: str
    """What to download and how to lay it out, and what must be converted before."""
    source: str = "."
    """The folder or table, below --data."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Options of `distunlearn shard`, as in `PrepareConfig`."""
    expect: dict[str, Expected] = Field(default_factory=dict)
    """Counts a site, and of all sites under `total`."""
    notes: str = ""
    """What else to know before training on it."""

    @field_validator("settings")
    @classmethod
    def _only_where_and_what(cls, settings: dict[str, Any]) -> dict[str, Any]:
        if unknown := settings.keys() - SETTINGS:
            raise ValueError(f"{', '.join(sorted(unknown))} cannot be set here (known: {', '.join(sorted(SETTINGS))})")
        return settings


def is_recipe(path: Path) -> bool:
    """Whether a source is a recipe."""
    return path.suffix.lower() in {".yaml", ".yml"}


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        UserError: it is missing, no YAML, or has a key that is not known.
    """
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({str(error).splitlines()[0]})") from None
    return Recipe.read(values, str(path))


def with_recipe(recipe: Recipe, own: dict[str, Any]) -> dict[str, Any]:
    """The recipe's settings with the user's own, which win; columns and values are joined name by name."""
    joined = {**recipe.settings, **own}
    for name in ("columns", "values", "match"):
        if name in own and name in recipe.settings:
            joined[name] = {**recipe.settings[name], **own[name]}
    return joined


def remarks(recipe: Recipe, scans: Mapping[str, int], subjects: Mapping[str, int]) -> list[str]:
    """The terms of use, and where the scans and people found differ in number from what the recipe expects.

    Args:
        recipe: the data set's.
        scans: scans found, by site.
        subjects: people with a scan that is taken, by site.
    """
    lines = [f"{recipe.name}: terms of use: {recipe.terms} Cite {recipe.cite}"]
    for name, expected in recipe.expect.items():
        for what, number, found in (("scans", expected.scans, scans), ("people", expected.subjects, subjects)):
            here = sum(found.values()) if name == TOTAL else found.get(name, 0)
            if number is not None and here != number:
                of = f" ({expected.of})" if expected.of else ""
                lines.append(f"{recipe.name}, {name}: {here} {what} found, {number} are expected{of}")
    return lines
