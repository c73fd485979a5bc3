"""A run's configuration: the parts' own configurations put together; read, overridden, written back."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from distunlearn.errors import UserError
from distunlearn.methods import SITE, AnyMethod, ConfoundKind, MethodConfig, StandardConfig, phases_of
from distunlearn.models import DomainHeadConfig, EncoderConfig, HeadConfig, VggConfig
from distunlearn.streaming.access import Access
from distunlearn.streaming.placement import Placement
from distunlearn.streaming.selection import Selection
from distunlearn.strict import Strict
from distunlearn.tasks import RegressionConfig, TaskConfig


class ConfoundConfig(ConfoundKind):
    """A label to unlearn beside the site, or instead of it: methods name it in their `confounds`."""

    unlearn: Selection | None = None
    """Its X_u; scans without the label are left out. That of the site if not given."""


class DataConfig(Strict):
    """Which scans take part, and how they are batched."""

    main: Selection = Selection()
    """X_p: the scans that the task is learned on."""
    unlearn: Selection | None = None
    """X_u: the scans that the scanner is unlearned on; X_p itself if not given (section 2.1 of the paper)."""
    batch: int = Field(16, gt=0)
    """Scans in a batch, over all ranks; every batch holds every site."""
    quota: Literal["equal", "proportional", "random"] = "equal"
    """How a batch is shared among sites: equally, or by their sizes but never less than one."""
    threads: int = Field(2, gt=0)
    """Threads that read ahead, a rank."""
    placement: Placement = Placement()
    """Which rank reads which scans: every one a share of all, or each only those of its sites (federated)."""
    access: Access = Access()
    """How shards are reached where they cannot be read by offset."""


class StageConfig(Strict):
    """A part of training with one method; evaluated when it ends."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    """Name of the stage and of its folder."""
    method: MethodConfig = StandardConfig()
    epochs: int = Field(10, gt=0)
    """Passes over the largest site."""
    learning_rate: float | dict[str, float] = 1e-3
    """Of every phase, or one a phase: {task: …, domain: …, confusion: …}."""
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    """One optimiser a phase, kept over the whole stage."""
    weight_decay: float = 0.0
    """Of the optimisers; with adamw apart from the gradient."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """How the learning rates fall to zero over the stage, if they do."""
    warmup_epochs: float = Field(0.0, ge=0)
    """Epochs over which they rise from zero first."""
    patience: int | None = Field(None, gt=0)
    """End the stage early after so many epochs in which `watch` did not fall."""
    watch: str = "val/mae"
    """The figure of metrics.jsonl that `patience` and `choose` look at."""
    choose: Literal["last", "error", "scanner"] = "last"
    """Which weights the stage ends with. error: those of the epoch with the least `watch`, the authors' rule. scanner: of
    the epochs whose `watch` is within `tolerance` of the baseline's, those on which fresh probes tell the scanner least
    on label-matched validation scans. The test split is never looked at."""
    tolerance: float = Field(0.05, ge=0)
    """choose=scanner: share by which `watch` may be above the baseline's."""
    baseline: float | None = None
    """choose=scanner: the `watch` of the baseline; that of the weights with which the stage begins if not given."""

    @model_validator(mode="after")
    def _every_phase_has_a_rate(self) -> "StageConfig":
        names = {phase.name for phase in phases_of(self.method)}
        if isinstance(self.learning_rate, dict) and set(self.learning_rate) != names:
            raise ValueError(f"learning_rate must name the phases {sorted(names)}, not {sorted(self.learning_rate)}")
        return self

    def rate(self, phase: str) -> float:
        """Learning rate of a phase."""
        return self.learning_rate[phase] if isinstance(self.learning_rate, dict) else self.learning_rate


class EngineConfig(Strict):
    """How the run works. What changes more of the result than its last digits is off by default and says so."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision; fp16 scales each loss by itself. Changes the result."""
    pieces: int = Field(1, gt=0)
    """Pieces into which each rank's share of a batch is cut to save memory; gradients are summed and reduced once.
    Changes nothing but the order of a sum."""
    compile: bool = False
    """Let torch.compile fuse the encoder's layers: half a minute at the start, faster steps on a GPU."""
    channels_last: bool = False
    """Store volumes channels last, which convolutions of half precision like."""
    fused: bool = False
    """Fused optimisers: one kernel a step instead of one a tensor."""
    deterministic: bool = False
    """Refuse operations that do not give the same bits twice on a GPU. On a CPU a run repeats without it."""
    bucket_mb: float = 1.0
    """Size of DDP's gradient buckets. With DDP's own 25 MB four fifths of the authors' encoder would be sent only when
    the backward pass is over, with 2 MB a sixth, with 1 MB one hundredth."""
    compression: Literal["none", "bf16", "powersgd"] = "none"
    """How gradients travel: as they are, in half the bytes, or as low-rank approximations. Changes the result."""
    average_every: int = Field(1, gt=0)
    """Local steps: reduce no gradients but average the weights every so many steps, and at every line of metrics.
    For slow links only: it is another algorithm, with a cost in error (docs/engine.md). 1 is exact."""
    timeout_minutes: float = 5.0
    """How long a rank waits for the others before it gives up."""
    log_every: int = Field(10, gt=0)
    """Steps between two lines of training losses in metrics.jsonl; ranks are compared and signals followed as often."""
    checkpoint_minutes: float = 5.0
    """Time between two checkpoints; one is also written at the end of every stage."""


class TrackingConfig(Strict):
    """MLflow."""

    enabled: bool = True
    """Mirror the run to MLflow while it trains; `distunlearn sync` does it afterwards, too."""
    experiment: str = "distunlearn"
    """MLflow experiment that the run goes into; MLFLOW_EXPERIMENT_NAME wins."""
    run_name: str | None = None
    """Name of the run; that of its folder if not given."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Tags of the run in MLflow, by which runs are found and grouped."""


class RunConfig(Strict):
    """Everything that determines a run."""

    shards: str
    """Folder that `distunlearn shard` wrote, or its URL: s3://…, https://…"""
    sites: tuple[str, ...] | None = None
    """Sites of the run, in the order of their domains; all sites of the folder if not given."""
    seed: int = 0
    """Of first weights, of the order of scans and of dropout."""
    task: TaskConfig = RegressionConfig()
    encoder: EncoderConfig = VggConfig()
    task_head: HeadConfig = HeadConfig()
    domain_head: DomainHeadConfig = DomainHeadConfig()
    confounds: dict[str, ConfoundConfig] = Field(default_factory=dict)
    """What can be unlearned beside `site`, by a name of your own."""
    data: DataConfig = DataConfig()
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    engine: EngineConfig = EngineConfig()
    tracking: TrackingConfig = TrackingConfig()

    @field_validator("stages")
    @classmethod
    def _names_differ(cls, stages: tuple[StageConfig, ...]) -> tuple[StageConfig, ...]:
        names = [stage.name for stage in stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages have the same name: {names}")
        return stages

    @model_validator(mode="after")
    def _baseline_is_known(self) -> "RunConfig":
        first = self.stages[0]
        if first.choose == "scanner" and first.baseline is None:
            raise ValueError(
                f"stage {first.name!r}: choose=scanner needs a stage before it, or `baseline`, the {first.watch} of a run without unlearning"
            )
        return self

    @model_validator(mode="after")
    def _confounds_are_known(self) -> "RunConfig":
        if SITE in self.confounds:
            raise ValueError(f"a confound cannot be called {SITE!r}: that one is always there")
        for stage in self.stages:
            unknown = sorted(set(stage.method.confounds) - {SITE, *self.confounds})
            if unknown or not stage.method.confounds:
                raise ValueError(
                    f"stage {stage.name!r}: method.confounds must name {', '.join([SITE, *self.confounds])}, not {', '.join(unknown) or 'nothing'}"
                )
        return self

    @property
    def methods(self) -> tuple[AnyMethod, ...]:
        """Of all stages."""
        return tuple(stage.method for stage in self.stages)

    def dump(self) -> str:
        """As YAML that `load` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def presets() -> tuple[str, ...]:
    """Names of the configurations that come with the package."""
    folder = files("distunlearn") / "presets"
    return tuple(sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load(config: Path | None, *, preset: str | None = None, overrides: tuple[str, ...] = ()) -> RunConfig:
    """Put a configuration together: the preset, the file over it, the overrides over both.

    Args:
        config: a YAML file, or None.
        preset: one of `presets()`, or None.
        overrides: `key.inner=value`, values in YAML.

    Raises:
        UserError: a file that is missing or no YAML, an unknown key (named), a value of the wrong kind.
    """
    values: dict[str, Any] = {}
    if preset is not None:
        values = _preset(preset)
    if config is not None:
        values = _merged(values, _read(config))
    for override in overrides:
        values = _override(values, override)
    source = str(config) if config else f"preset {preset}" if preset else "the configuration"
    return RunConfig.read(values, source)


def _preset(name: str) -> dict[str, Any]:
    if name not in presets():
        raise UserError(f"no preset {name!r}; there are {', '.join(presets())}")
    return _mapping((files("distunlearn") / "presets" / f"{name}.yaml").read_text(), f"preset {name}")


def _read(path: Path) -> dict[str, Any]:
    try:
        return _mapping(path.read_text(), str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a YAML file or --preset") from None


def _mapping(text: str, source: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{source}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{source}: must hold keys and values, such as `shards: FOLDER`")
    return values


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` wins key by key; lists and choices of another kind (another `name`) are replaced whole."""
    merged: dict[str, Any] = dict(under)
    for key, value in over.items():
        merged[key] = _merged(under[key], value) if _same_kind(under.get(key), value) else value
    return merged


def _same_kind(under: Any, over: Any) -> bool:
    both = isinstance(under, dict) and isinstance(over, dict)
    return both and over.get("name", under.get("name")) == under.get("name")


def _override(values: dict[str, Any], override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals:
        raise UserError(f"--set {override}: write it as key.inner=value")
    changed: dict[str, Any] = _with(values, key.split("."), yaml.safe_load(text), override)
    return changed


def _with(values: Any, path: list[str], value: Any, override: str) -> Any:
    """A copy of nested dicts and lists with one value set; `stages.0.epochs` reaches into lists."""
    first, *rest = path
    if isinstance(values, list):
        if not first.isdigit() or int(first) >= len(values):
            raise UserError(f"--set {override}: {first!r} is no position of a list of {len(values)}")
        inner = _with(values[int(first)], rest, value, override) if rest else value
        return [inner if index == int(first) else entry for index, entry in enumerate(values)]
    if not isinstance(values, dict):
        raise UserError(f"--set {override}: {first!r} has nothing inside")
    return {**values, first: _with(values.get(first) or {}, rest, value, override) if rest else value}
