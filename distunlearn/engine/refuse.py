"""Settings that do not go together, or that would silently change what a run computes: refused before it begins."""

from distunlearn.config import EngineConfig, RunConfig
from distunlearn.engine.losses import LOSSES
from distunlearn.engine.runtime import Runtime
from distunlearn.errors import UserError
from distunlearn.methods import Term, phases_of
from distunlearn.models.norm import Statistics


def refuse_alignments(config: RunConfig) -> None:
    """Refuse losses on pairs of scans where there are no pairs, no classes, or nothing to compare them at.

    Raises:
        UserError: names the setting and what it does not go with.
    """
    terms = (term for method in config.methods for phase in phases_of(method) for term in phase.terms)
    for term in terms:
        trouble = _trouble(term, config) if LOSSES[term.loss].reads == "features" else None
        if trouble:
            raise UserError(trouble)


def _trouble(term: Term, config: RunConfig) -> str | None:
    task, confound = config.task, config.confounds.get(term.confound)
    if config.engine.pieces > 1:
        return "engine.pieces: an alignment compares all scans of a batch, which cannot be cut; set pieces to 1"
    if confound is not None and confound.kind == "continuous":
        return f"method.confounds: an alignment compares classes, and {term.confound} is continuous; set its kind to binned"
    if term.loss != "alignment":
        return None
    if term.label is None and not task.targets:
        return "method.label: a segmentation has no target to compare scans at; name a label, such as age"
    if task.name == "classification" and term.label in {None, *task.targets} and term.within:
        return f"method.within: {task.targets[0]} has classes, which are no distance apart; set within to 0"
    return None


def refuse_norm(statistics: Statistics, runtime: Runtime) -> None:
    """Refuse batch normalisation where it would not be that of the global batch.

    Args:
        statistics: of which scans the network takes those that it normalises by.
        runtime: with the engine's settings.

    Raises:
        UserError: names the setting and what it does not go with.
    """
    if statistics == "none":
        return
    engine: EngineConfig = runtime.config
    if statistics == "rank" and runtime.world_size > 1:
        raise UserError(
            "encoder: its batch norm goes by each rank's share of a batch, so that the result depends on the number of ranks; "
            "use norm sync, group or instance, or one process"
        )
    if engine.pieces > 1:
        raise UserError(
            "engine.pieces: batch norm (encoder.norm, domain_head.standardise) would normalise each piece by itself; use norm group or instance, or 1 piece"
        )
    if engine.channels_last and runtime.device.type == "cpu":
        raise UserError(
            "engine.channels_last: batch norm is inexact on CPUs with it (its sums lose digits); use norm group"
        )
