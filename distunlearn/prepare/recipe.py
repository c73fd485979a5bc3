"""Recipes: one YAML a data set that says where its scans are and what its columns are called, never what is done to voxels."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator

from distunlearn.errors import UserError
from distunlearn.prepare.run import Summary
from distunlearn.strict import Strict

SETTINGS = frozenset({
    "site", "site_column", "columns", "values", "labels", "decimal_comma", "age_89plus", "suffix", "segmentation",
    "runs", "images", "table", "match", "features",
})  # fmt: skip
"""What a recipe may set. Preprocessing is not among them: processing that differs by site is a scanner effect itself."""


class Expected(Strict):
    """What the data set's own description says that there is."""

    subjects: int | None = None
    scans: int | None = None


class Recipe(Strict):
    """A data set, as the people who collected it hand it out."""

    name: str
    about: str
    """One or two sentences: who was scanned, where, on what."""
    url: str
    access: Literal["open", "registration", "application"]
    """How it is got: downloaded, after an agreement, or after an application."""
    terms: str
    """The terms of use, in short; what counts is what the data set's own page says."""
    cite: str
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
    """Counts a site, and `total`."""
    notes: str = ""

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


def compare(recipe: Recipe, summary: Summary) -> list[str]:
    """Where the scans that were found differ in number from what the recipe expects."""
    found = {site: counts.found for site, counts in summary.sites.items()}
    found["total"] = sum(found.values())
    return [
        f"{name}: {found.get(name, 0)} scans found, {expected.scans} are expected of {recipe.name}"
        for name, expected in recipe.expect.items()
        if expected.scans is not None and found.get(name, 0) != expected.scans
    ]
