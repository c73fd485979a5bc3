"""Why a scan was not taken: a rule that is counted and a line that a person can act on."""

from dataclasses import dataclass

LEFT_OUT = "left-out"
"""Rule of scans that the user's own options leave out; they are counted, but they are no refusals."""


class Refusal(Exception):  # noqa: N818 - it is a verdict on one scan, not an error of the program
    """One scan breaks a rule; the others go on.

    Attributes:
        rule: short name under which refusals are counted.
        reason: what is wrong and the remedy, without any identifier, path or header text of the scan.
    """

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason


@dataclass(frozen=True)
class Dropped:
    """One scan that is not written."""

    site: str
    rule: str
    reason: str
    place: str
    """Where it was found, in words that may be shown to anyone: a table's line, or the key of the scan."""
    source: str
    """What it was called: shown only with `show_ids`."""
