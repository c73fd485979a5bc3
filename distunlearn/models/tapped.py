"""An encoder as the engine uses it: checked once, and able to show what its inner layers say to domain heads there.

Dimensions: `B` subjects, `F` features of the feature layer, `L` of all layers together.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distunlearn.models.heads import pooled


class Erase(nn.Module):
    """An affine map of the features that `methods.erasure` fits; until then it changes nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", torch.eye(width))
        self.register_buffer("bias", torch.zeros(width))

    def fit(self, weight: Float[Tensor, "F F"], bias: Float[Tensor, " F"]) -> None:
        """Set the map, behind one that was fitted before."""
        weight, bias = weight.to(self.weight), bias.to(self.bias)
        self.bias.copy_(weight @ self.bias + bias)
        self.weight.copy_(weight @ self.weight)

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        """Features without what was erased."""
        return features @ self.weight.T.to(features) + self.bias.to(features)


class Tapped(nn.Module):
    """The feature layer and, behind it, the chosen inner layers averaged over space: one row a scan.

    `width` is that of the feature layer, which is all that the task and the probes see.
    """

    def __init__(
        self, encoder: nn.Module, shape: tuple[int, ...], *, layers: tuple[str, ...] = (), erasable: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.layers = encoder, layers
        self._seen: dict[str, Tensor] = {}
        known = dict(encoder.named_modules())
        if missing := [name for name in layers if name not in known]:
            raise ValueError(f"it has no layer {', '.join(missing)} (it has {', '.join(filter(None, known))})")
        for name in layers:
            known[name].register_forward_hook(self._keep(name))
        features = self._try(torch.zeros(2, *([1] if len(shape) > 1 else []), *shape), erasable=erasable)
        self.width, self.gives_map = features.shape[1], features.ndim > 2
        self.erase = Erase(self.width) if erasable else None
        self.widths = (self.width, *(pooled(self._seen.pop(name)).shape[1] for name in layers))

    def forward(self, volume: Float[Tensor, "B ..."]) -> Float[Tensor, "B L ..."]:
        """Encode a batch."""
        features: Tensor = self.encoder(volume)
        if self.erase is not None:
            features = self.erase(features)
        if not self.layers:
            return features
        return torch.cat([features, *(pooled(self._seen.pop(name)) for name in self.layers)], dim=1)

    @torch.no_grad()
    def _try(self, scans: Tensor, *, erasable: bool) -> Tensor:
        """What two empty scans give, with nothing learnt from them."""
        features: object = self.encoder.eval()(scans)
        self.encoder.train()
        if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != len(scans):
            raise ValueError("its forward must give one row of features a scan, (B, F)")
        if features.ndim > 2 and (self.layers or erasable):
            raise ValueError("it gives a map; inner layers and erasure are for encoders that give rows of features")
        return features

    def _keep(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._seen[name] = output

        return keep
