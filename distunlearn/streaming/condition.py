"""Conditions on a label as people write them: "<65", ">= 60", "60..70", "!=patient", control, [M, F], n/a."""

import re
from typing import Annotated

import numpy as np
import pandas as pd
from jaxtyping import Bool
from pydantic import AfterValidator

from distunlearn.errors import UserError
from distunlearn.shard_format import MISSING

_COMPARISON = re.compile(r"^(<=|>=|<|>)\s*(.*)$")
_RANGE = re.compile(r"^\s*(\S+?)\s*\.\.\s*(\S+)\s*$")
_COMPARE = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}

Value = str | float


def _check_numbers(condition: Value | tuple[Value, ...]) -> Value | tuple[Value, ...]:
    """Refuse "<old" when the configuration is read, not when the data are."""
    for text in _numbers_of(condition):
        try:
            float(text)
        except ValueError:
            raise ValueError(f"{text!r} is no number; write for example '<65', '>=60' or '60..70'") from None
    return condition


def _numbers_of(condition: Value | tuple[Value, ...]) -> tuple[str, ...]:
    if not isinstance(condition, str):
        return ()
    if match := _COMPARISON.match(condition):
        return (match[2],)
    match = _RANGE.match(condition)
    return (match[1], match[2]) if match else ()


Condition = Annotated[Value | tuple[Value, ...], AfterValidator(_check_numbers)]


def holds(labels: pd.Series, condition: Value | tuple[Value, ...]) -> Bool[np.ndarray, " n"]:
    """Which scans meet a condition on one label; a missing label meets none but `n/a`.

    Raises:
        UserError: the condition compares numbers and the label holds text.
    """
    there = labels.notna().to_numpy()
    if condition == MISSING:
        return ~there
    numbers = _numbers_of(condition)
    if not numbers:
        return np.asarray(there & _equals(labels, condition))
    if labels.dtype != np.float64:
        raise UserError(
            f"where.{labels.name}: {condition!r} compares numbers, but the label holds text; compare with a value or a list"
        )
    values = labels.to_numpy()
    if len(numbers) == 2:
        return np.asarray(there & (values >= float(numbers[0])) & (values <= float(numbers[1])))
    sign = str(condition)[:2] if str(condition)[1] == "=" else str(condition)[0]
    return np.asarray(there & _COMPARE[sign](values, float(numbers[0])))


def _equals(labels: pd.Series, condition: Value | tuple[Value, ...]) -> Bool[np.ndarray, " n"]:
    if isinstance(condition, str) and condition.startswith("!="):
        return ~_equals(labels, condition[2:].strip())
    wanted = {_text(value) for value in (condition if isinstance(condition, tuple) else (condition,))}
    return labels.map(_text).isin(wanted).to_numpy(dtype=bool)


def _text(value: object) -> str:
    """0, 0.0 and "0" are the same value of a label, whatever wrote them."""
    try:
        return repr(float(value))  # type: ignore[arg-type]  # None and text end in the other branch
    except (TypeError, ValueError):
        return str(value)
