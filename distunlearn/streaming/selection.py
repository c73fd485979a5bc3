"""Which scans play one role of training, as configuration."""

from typing import Literal

from pydantic import Field, model_validator

from distunlearn.streaming.condition import Condition
from distunlearn.strict import Strict


class Selection(Strict):
    """Which scans play one role of training."""

    rule: Literal["all", "overlap", "matched", "where"] = "all"
    """all; overlap: scans whose label lies where all sites' labels lie; matched: the same, and in every batch all sites
    have the same distribution of the label; where: only what the conditions below say."""
    sites: tuple[str, ...] | None = None
    """Only these sites; the others are held out of this role entirely."""
    label: str = "age"
    """The label of `overlap` and `matched`."""
    bounds: tuple[float, float] | None = None
    """The overlap, both ends included; computed when not given."""
    width: float = Field(5.0, gt=0)
    """Of a stratum of `matched`, in the label's unit; a label of text is matched value by value."""
    where: dict[str, Condition] = Field(default_factory=dict)
    """Conditions on labels at every site: {diagnosis: control}, {age: "<65"}, {age: 60..70}, {sex: [F, M]},
    {age: n/a} (scans that lack the label)."""
    where_site: dict[str, dict[str, Condition]] = Field(default_factory=dict)
    """Further conditions at single sites: {biobank: {age: "<65"}, oasis: {age: ">60"}}."""
    among: Literal["main", "study"] = "main"
    """X_u only: chosen among the scans of X_p (main), or among all training scans of the study, labelled or not."""

    @model_validator(mode="after")
    def _conditions_are_given(self) -> "Selection":
        if self.rule == "where" and not (self.where or self.where_site):
            raise ValueError("rule 'where' needs a condition in where or where_site")
        if self.bounds and self.bounds[0] > self.bounds[1]:
            raise ValueError(f"bounds {self.bounds} are upside down; give the lower one first")
        return self
