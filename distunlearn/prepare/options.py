"""From the words of a command line, and a recipe if there is one, to sources and a configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.recipe import Recipe, is_recipe, read_recipe, with_recipe


@dataclass(frozen=True)
class Request:
    """What the user asks for."""

    sources: tuple[Path, ...]
    out: Path
    config: PrepareConfig
    recipe: Recipe | None


def read_request(
    paths: Sequence[Path], options: Mapping[str, Any], voxels: Mapping[str, Any], *, data: Path | None = None
) -> Request:
    """Put a request together; what the user gives wins over the recipe, and the recipe over the defaults.

    Args:
        paths: sources, and last the folder to write.
        options: fields of `PrepareConfig`; None and empty ones are not given.
        voxels: fields of `Preprocessing`, likewise.
        data: where the data set of a recipe lies.

    Raises:
        UserError: paths are missing, or an option is wrong.
    """
    if len(paths) < 2:
        raise UserError("shard: give at least one source and the folder to write, e.g. `distunlearn shard BIDS OUT`")
    *sources, out = paths
    own = {name: given for name, given in options.items() if given not in (None, [], {})}
    recipe = None
    if any(map(is_recipe, sources)):
        recipe, sources = _only_recipe(sources, data)
        own = with_recipe(recipe, own)
    elif data:
        raise UserError("shard: --data says where the data set of a recipe lies, and no recipe (a .yaml file) is given")
    own["preprocessing"] = {name: given for name, given in voxels.items() if given is not None}
    return Request(tuple(sources), out, PrepareConfig.read(own, "shard"), recipe)


def read_pairs(texts: Sequence[str], example: str) -> dict[str, str]:
    """`NAME=TEXT` options as a dict.

    Raises:
        UserError: one has no `=`.
    """
    for text in texts:
        if not text.partition("=")[0].strip() or "=" not in text:
            raise UserError(f"{text!r}: write it as {example}")
    return {name.strip(): given for name, _, given in (text.partition("=") for text in texts)}


def read_meanings(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """`NAME:CELL=MEANING` options as a dict a name.

    Raises:
        UserError: one has no `:` or no `=`.
    """
    meanings: dict[str, dict[str, str]] = {}
    for name_and_cell, meaning in read_pairs(texts, "NAME:CELL=MEANING, e.g. sex:0=F").items():
        name, colon, cell = name_and_cell.partition(":")
        if not colon:
            raise UserError(f"{name_and_cell}={meaning}: write it as NAME:CELL=MEANING, e.g. sex:0=F")
        meanings.setdefault(name, {})[cell] = meaning
    return meanings


def _only_recipe(sources: Sequence[Path], data: Path | None) -> tuple[Recipe, list[Path]]:
    if len(sources) > 1:
        raise UserError("shard: one recipe at a time; run it again for the next data set, with the same OUT")
    if data is None:
        raise UserError("shard: say with --data where the data set of the recipe lies")
    recipe = read_recipe(sources[0])
    source = data / recipe.source
    if not source.exists():
        raise UserError(f"{source}: is not there; the recipe {recipe.name} says what to get: {recipe.get}")
    return recipe, [source]
