"""What a row changes of the base configuration, so that rows differ in method and width and in nothing else."""

from pydantic import Field

from distunlearn.config import RunConfig, StageConfig
from distunlearn.errors import UserError
from distunlearn.methods import AnyMethod, MethodConfig, StandardConfig, phases_of
from distunlearn.models import MlpConfig, VggConfig
from distunlearn.models.custom import CustomConfig
from distunlearn.strict import Strict


class Variant(Strict):
    """Changes of the network's width and of the method; optimiser, schedule and number of epochs stay the base's."""

    features: int | None = Field(None, gt=0)
    """Width of the feature layer; that of the base if not given."""
    plain: bool = False
    """Without the dropout of the base's encoder."""
    method: MethodConfig | None = None
    """In place of that of the base's last stage."""
    rates: dict[str, float] = Field(default_factory=dict)
    """Learning rates of phases as multiples of the base's; 1 where not given."""
    after_standard: bool = False
    """Whether the first half of the epochs is standard training with the per-domain loss."""

    def encoder(self, base: RunConfig) -> object:
        """The encoder's configuration.

        Raises:
            UserError: the width of a network of the user's own is not ours to set.
        """
        if self.features is None and not self.plain:
            return base.encoder
        if isinstance(base.encoder, CustomConfig):
            raise UserError("encoder: the rows of this suite differ in `features`, which a custom encoder has not")
        changed = {"features": self.features or base.encoder.features}
        without = {"dropout": 0.0} if self.plain and isinstance(base.encoder, MlpConfig | VggConfig) else {}
        return base.encoder.model_copy(update=changed | without)

    def stages(self, base: RunConfig) -> tuple[StageConfig, ...]:
        """The stages, as many epochs in all as the base's together."""
        last, epochs = base.stages[-1], sum(stage.epochs for stage in base.stages)
        if self.method is None:
            return base.stages
        if not self.after_standard:
            return (self._stage(last, self.method, epochs),)
        first = self._stage(last, StandardConfig(), epochs // 2).model_copy(update={"name": "standard"})
        return (first, self._stage(last, self.method, epochs - epochs // 2))

    def _stage(self, last: StageConfig, method: AnyMethod, epochs: int) -> StageConfig:
        rate = last.rate(phases_of(last.method)[-1].name)
        rates = {phase.name: rate * self.rates.get(phase.name, 1.0) for phase in phases_of(method)}
        values = {"name": method.name, "method": method, "epochs": epochs, "learning_rate": rates}
        return last.model_copy(update=values)
