"""Starts one domain head after another anew, on a schedule, the same on every rank and after resuming."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.optim import Optimizer

from distunlearn.engine.network import unwrapped
from distunlearn.models import DomainHeads


def reset_heads(parts: Mapping[str, nn.Module], optimisers: Mapping[str, Optimizer], *, step: int, seed: int) -> None:
    """At every `reset_every`-th step, give the head whose turn it is fresh weights and forget its moments.

    Args:
        parts: of the network.
        optimisers: of the stage.
        step: of the stage, from 0.
        seed: of the run.
    """
    for heads in map(unwrapped, parts.values()):
        if not isinstance(heads, DomainHeads) or not heads.reset_every or not step or step % heads.reset_every:
            continue
        one = heads.heads[step // heads.reset_every % len(heads.heads)]
        _renew([layer for layer in one.modules() if isinstance(layer, nn.Linear)], seed * 1_000_003 + step)
        for parameter in one.parameters():
            for optimiser in optimisers.values():
                optimiser.state.pop(parameter, None)


def _renew(layers: list[nn.Linear], seed: int) -> None:
    """Fresh weights, drawn on the CPU so that they are the same on every device."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for layer in layers:
            fresh = nn.Linear(layer.in_features, layer.out_features)
            layer.weight.copy_(fresh.weight)
            layer.bias.copy_(fresh.bias)
