"""What can be set when scans are prepared, apart from where they are."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from distunlearn.strict import Strict

FORMS = ("agree", "sform", "qform")
DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
"""Axis of the world, and which way along it, of the letter that says where an axis of voxels goes."""


def known_orientation(text: str) -> str:
    """`agree`, `sform`, `qform`, or the three axes of files that state none, such as LAS.

    Raises:
        ValueError: it is neither.
    """
    axes = sorted(DIRECTIONS[letter][0] for letter in text if letter in DIRECTIONS)
    if text not in FORMS and not (len(text) == 3 and axes == [0, 1, 2]):
        raise ValueError("give agree, sform or qform, or the axes of files that state none, e.g. LAS")
    return text


Orientation = Annotated[str, AfterValidator(known_orientation)]
"""Which affine of a header to follow."""


class Preprocessing(Strict):
    """Everything that is done to the voxels of a scan; stored in every manifest and enforced on new scans."""

    version: Literal[1] = 1
    orientation: Literal["RAS"] = "RAS"
    """Axes of the volume: to the Right, Anterior, Superior, by the affine; never by the order in the file."""
    brain_extraction: Literal["none", "deepbet"] = "none"
    """`deepbet` keeps the brain only (extra `distunlearn[brain]`)."""
    crop: Literal["none", "head"] = "none"
    """`head` cuts away the empty border before resizing, so that heads fill the grid alike."""
    size: tuple[int, int, int] = (128, 128, 128)
    """Voxels (W, H, D) to which a scan is resized, trilinear; the paper's."""
    keep_every: int = Field(default=4, ge=1)
    """Every which axial slice is kept, from slice 0; the paper's 4 leaves 32."""
    normalise: Literal["volume", "brain"] = "volume"
    """Over what the mean is 0 and the standard deviation 1: the whole volume (the paper's), or its non-zero voxels."""
    stored: Literal["int16"] = "int16"

    @model_validator(mode="after")
    def _sizes(self) -> "Preprocessing":
        if min(self.size) < 4 or max(self.size) > 1024:
            raise ValueError("each side of `size` must be 4 to 1024 voxels")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (W, H, D) of a prepared volume."""
        width, height, depth = self.size
        return width, height, -(-depth // self.keep_every)


class PrepareConfig(Strict):
    """Options of `distunlearn shard`; every one has the default that the paper or common sense gives."""

    site: str | None = None
    """Name of the site, when the source is one site; the folder's name otherwise."""
    site_column: str | None = None
    """Column of participants.tsv that holds the site, when one BIDS folder holds several."""
    columns: dict[str, str] = Field(default_factory=dict)
    """What a column is called in the source, e.g. `{age: AGE_AT_SCAN, path: file}`."""
    values: dict[str, dict[str, str]] = Field(default_factory=dict)
    """What a value means, e.g. `{sex: {"0": F, "1": M}}`."""
    labels: tuple[str, ...] = ("age", "sex")
    """Label columns to keep; `traveller` is kept whenever it is there. No other column is written."""
    require: tuple[str, ...] = ()
    """Labels without which a scan is refused; by default a label may be missing."""
    decimal_comma: bool = False
    """Read `45,5` as 45.5."""
    age_89plus: Literal["refuse", "exclude", "90"] = "refuse"
    """What an age of `89+` means: an error, a scan to leave out, or 90."""
    suffix: str = "T1w"
    """BIDS suffix of the images."""
    segmentation: str | None = None
    """BIDS suffix of the segmentations that are taken along (`dseg`, `mask`), beside the images or in derivatives."""
    images: str | None = None
    """Where the images of a folder that is not BIDS are, e.g. `IXI{subject}-{site}-*-T1.nii.gz`: `*` is anything in a
    name, `{subject}`, `{session}`, `{site}` and further names are parts that mean something."""
    table: str | None = None
    """Table of the people, below that folder."""
    match: dict[str, str] = Field(default_factory=dict)
    """Which row belongs to an image, e.g. `{ID: "OAS1_{subject}_MR{session}"}`; by default the subject's (and session's)."""
    features: tuple[str, ...] = ()
    """Columns of a table that has one row of numbers a scan and no images; `*_thickness` and the like are understood."""
    runs: Literal["all", "first"] = "all"
    """Whether every run of a BIDS session is taken, or the first only."""
    participants: tuple[str, ...] = ()
    """Only these participants, if any are named."""
    orientation_from: Orientation = "agree"
    """Which affine to follow when a header's two disagree: `agree` refuses such a scan. Three letters instead, e.g. `LAS`
    (first axis to the left, second to the front, third up), state the axes of files that do not; others are followed."""
    test: float = Field(default=0.2, ge=0, lt=1)
    """Share of the subjects held out for the test."""
    val: float = Field(default=0.1, ge=0, lt=1)
    """Share of the subjects held out for validation."""
    split_salt: str = "distunlearn"
    """Another salt draws another split."""
    preprocessing: Preprocessing = Preprocessing()
    shard_megabytes: float = Field(default=128, gt=0)
    """Size of a shard, about."""
    workers: int = Field(default=0, ge=0)
    """Worker processes; 0 is one a core."""
    max_refused: int = Field(default=0, ge=0)
    """How many scans may be refused before the command fails."""

    @model_validator(mode="after")
    def _shares(self) -> "PrepareConfig":
        if self.test + self.val >= 1:
            raise ValueError("`test` and `val` together must leave subjects to train on")
        return self
