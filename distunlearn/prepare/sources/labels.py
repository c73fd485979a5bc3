"""What a cell says of a person, checked and spelt in one way; a cell that cannot be believed refuses its scan."""

import re
from collections.abc import Iterable

from distunlearn.errors import UserError
from distunlearn.prepare.config import PrepareConfig
from distunlearn.prepare.refusal import LEFT_OUT, Refusal
from distunlearn.prepare.sources.tabular import is_missing
from distunlearn.shard_format import MISSING

OLDEST = 120.0
SEX = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F", "o": "O", "other": "O"}
SEX_CODED = {"1": "M", "2": "F", "1.0": "M", "2.0": "F"}
"""The field's usual code; 0 and 1 mean either sex in different data sets, so they must be mapped by the user."""
YEARS = {"year": 1.0, "years": 1.0, "yr": 1.0, "yrs": 1.0, "y": 1.0, "a": 1.0, "month": 12.0, "months": 12.0, "mo": 12.0,
         "week": 52.1775, "weeks": 52.1775, "wk": 52.1775, "day": 365.25, "days": 365.25, "d": 365.25}  # fmt: skip
"""How many of a unit make a year."""
LONGEST = 100
NUMBER_WITH_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?")


def read_label(name: str, cell: str, config: PrepareConfig, *, units_a_year: float = 1.0) -> str:
    """One label as it is written into the shards: a plain number, a word, or `n/a`.

    Raises:
        Refusal: the cell does not hold such a label.
    """
    cell = config.values.get(name, {}).get(cell.strip(), cell.strip())
    if is_missing(cell):
        if name in config.require:
            raise Refusal(f"no-{name}", f"has no {name}, which is required; fill it in, or do not require it")
        return MISSING
    if name == "age":
        return _age(cell, config, units_a_year)
    if name == "sex":
        return _sex(cell)
    if len(cell) > LONGEST or not cell.isprintable():
        raise Refusal(name, f"has a {name} of more than {LONGEST} characters or with control characters; shorten it")
    return with_point(cell, config)


def with_point(cell: str, config: PrepareConfig) -> str:
    """A number written with a decimal comma with a point, if the user says that there are such; any other cell as it is."""
    return cell.replace(",", ".") if config.decimal_comma and NUMBER_WITH_COMMA.fullmatch(cell) else cell


def read_age_unit(unit: str, where: str) -> float:
    """How many of a unit of participants.json make a year.

    Raises:
        UserError: the unit is not known.
    """
    if unit.strip().lower() not in YEARS:
        raise UserError(f"{where}: the unit of age is {unit!r}; known are years, months, weeks, days")
    return YEARS[unit.strip().lower()]


def check_sex_code(cells: Iterable[str], where: str, config: PrepareConfig) -> None:
    """Refuse a column of sexes coded with 0: 1 means male in some data sets and female in others.

    Raises:
        UserError: the column holds 0 and the user has not said what it means.
    """
    if "sex" not in config.values and {"0", "0.0"} & {cell.strip() for cell in cells}:
        raise UserError(
            f"{where}: sex is coded with 0, which means either; say which with --value sex:0=F --value sex:1=M, or the other way round"
        )


def _age(cell: str, config: PrepareConfig, units_a_year: float) -> str:
    cell = with_point(cell, config)
    if re.fullmatch(r"(89|90)\+", cell):
        if config.age_89plus == "refuse":
            raise Refusal("age-89plus", f"has the age {cell}; say what it means with --age-89plus exclude or 90")
        if config.age_89plus == "exclude":
            raise Refusal(LEFT_OUT, f"has the age {cell}, and you asked to leave such scans out")
        cell = "90"
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]+)?", cell):  # float() would also take 1_000, full-width digits and inf
        hint = "; read 45,5 as 45.5 with --decimal-comma" if "," in cell else ""
        raise Refusal("age", f"has an age that is no plain number of years{hint or '; write e.g. 45.5, or n/a'}")
    years = float(cell) / units_a_year
    if years > OLDEST:
        raise Refusal(
            "age", f"has an age of more than {OLDEST:.0f} years; correct it, or give its unit in participants.json"
        )
    return f"{years:.6g}"


def is_sex(word: str) -> bool:
    """Whether a word means a sex."""
    return word.strip().lower() in SEX


def _sex(cell: str) -> str:
    sex = SEX.get(cell.lower()) or SEX_CODED.get(cell)
    if sex is None:
        raise Refusal("sex", "has a sex that is not understood; say what it means with --value sex:CELL=F")
    return sex
