"""The reference of all settings, written from the pydantic models that read them, so that it cannot be out of date.

One section a model, one entry a field; what is said of either is its docstring.
"""

import inspect
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

Model = type[BaseModel]
SIGNS = {Gt: ("gt", ">"), Ge: ("ge", "≥"), Lt: ("lt", "<"), Le: ("le", "≤")}
NAMES = {str: "text", float: "number", int: "whole number", bool: "true or false", type(None): "null", Any: "anything"}


def sections(root: Model) -> list[str]:
    """Of a model and of every model inside it, in the order in which they are met."""
    return [_section(model, places) for model, places in _places(root).items()]


def undocumented(root: Model) -> list[str]:
    """Settings without a sentence of their own, apart from those that are a section or the name of a choice."""
    return [
        f"{model.__name__}.{key}"
        for model in _places(root)
        for key, field in model.model_fields.items()
        if not (field.description or key == "name" or any(_inner(field.annotation)))
    ]


def _places(root: Model) -> dict[Model, list[str]]:
    """Every model below a root, and the keys under which it stands."""
    found: dict[Model, list[str]] = {}
    waiting = [(root, "")]
    while waiting:
        model, place = waiting.pop(0)
        known = model in found
        found.setdefault(model, []).append(place)
        waiting[:0] = [] if known else list(_below(model, place))
    return found


def _below(model: Model, place: str) -> Iterator[tuple[Model, str]]:
    for key, field in model.model_fields.items():
        many = {tuple: "[]", dict: ".NAME"}.get(get_origin(field.annotation), "")
        for inner in dict.fromkeys(_inner(field.annotation)):
            yield inner, f"{place}.{key}{many}".lstrip(".")


def _inner(annotation: Any) -> Iterator[Model]:
    """The models that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _inner(argument)


def _choice(model: Model) -> str:
    """The `name` by which a model is chosen among others; none where there is nothing to choose."""
    name = model.model_fields.get("name")
    return str(name.default) if name and get_origin(name.annotation) is Literal else ""


def _section(model: Model, places: list[str]) -> str:
    chosen = _choice(model)
    title = ", ".join(f"`{place}`" for place in places if place) or "At the top"
    title += f", `name: {chosen}`" if chosen else ""
    entries = [_entry(key, field) for key, field in model.model_fields.items() if not (key == "name" and chosen)]
    return "\n\n".join([f"({model.__name__.lower()})=\n## {title}", inspect.getdoc(model) or "", *entries])


def _entry(key: str, field: FieldInfo) -> str:
    kind = _kind(field.annotation) + "".join(f", {bound}" for bound in _bounds(field))
    default = "**needed**" if field.is_required() else f"default {_default(field)}"
    about = (field.description or _about(list(_inner(field.annotation)))).strip().replace("\n", "\n  ")
    return f"`{key}` · {kind} · {default}\n: {about}"


def _about(inner: list[Model]) -> str:
    if len(inner) == 1:
        return (inspect.getdoc(inner[0]) or "").split("\n")[0]
    return "One of these, by its `name`." if inner else ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return f"`{{name: {_choice(type(value))}}}`" if _choice(type(value)) else "as below"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    """A value as it is written in a YAML file, on one line."""
    return yaml.safe_dump([value], default_flow_style=True, width=10_000).strip()[1:-1]


def _bounds(field: FieldInfo) -> Iterator[str]:
    for rule in field.metadata:
        parts = rule if isinstance(rule, Interval) else [rule]
        for part in parts:
            if type(part) in SIGNS:
                attribute, sign = SIGNS[type(part)]
                yield f"{sign} {getattr(part, attribute)}"
            if isinstance(part, MinLen):
                yield f"{part.min_length} or more"


def _kind(annotation: Any) -> str:
    """An annotation in words; models become links to their sections."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{_choice(annotation) or 'settings'}](#{annotation.__name__.lower()})"
    if annotation in NAMES:
        return NAMES[annotation]
    if hasattr(annotation, "__metadata__"):
        return _kind(get_args(annotation)[0])
    inside = [part for part in get_args(annotation) if part is not Ellipsis]
    origin = get_origin(annotation)
    if origin is Literal:
        return " or ".join(f"`{_yaml(choice)}`" for choice in inside)
    kinds = list(dict.fromkeys(_kind(part) for part in inside))
    if origin is tuple:
        return f"list of {' and '.join(kinds)}"
    return f"mapping of {kinds[0]} to {kinds[-1]}" if origin is dict else " or ".join(kinds)
