"""Which names MLflow takes: names of sites become names of metrics, so they are checked before training starts."""

import posixpath
import re
from collections.abc import Iterable

from distunlearn.errors import UserError

LONGEST = 250
_ALLOWED = re.compile(r"[/\w.\- :]+")


def takes(name: str) -> bool:
    """Whether MLflow takes this name of a metric or parameter.

    >>> takes("val/mae/Zürich 3T"), takes("val/mae/Zürich (3T)"), takes("val/mae/..")
    (True, False, False)
    """
    return bool(_ALLOWED.fullmatch(name)) and len(name) <= LONGEST and _is_plain_path(name)


def check_metric_names(sites: Iterable[str]) -> None:
    """Refuse sites whose figures MLflow would refuse hours later, such as `val/mae/SITE`.

    Raises:
        UserError: a name with other characters than letters, digits, `_`, `-`, `.`, `:` and blanks, one with `/` (which
            would open a section of its own in the charts), `.` or `..`, or one of more than 200 characters.
    """
    for site in sites:
        if "/" in site or not takes(f"val/mae/{site}") or len(site) > LONGEST - 50:
            raise UserError(
                f"site {site!r}: MLflow takes letters, digits, '_', '-', '.', ':' and blanks in a name, at most {LONGEST - 50}; "
                "rename the site in its recipe and shard it again, or set tracking.enabled=false"
            )


def _is_plain_path(name: str) -> bool:
    plain = posixpath.normpath(name)
    return plain == name and plain != "." and not plain.startswith(("..", "/"))
