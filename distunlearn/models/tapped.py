"""An encoder as the engine uses it: checked once, and whatever it gives laid out as one row a scan.

Dimensions: `B` subjects, `F` features of the feature layer, `R` columns of a row.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Erase(nn.Module):
    """An affine map of the features that `methods.erasure` fits; until then it changes nothing.

    Of a map of features every voxel goes through it, and with them, as it is affine, their mean.
    """

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

    def forward(self, features: Float[Tensor, "B F ..."]) -> Float[Tensor, "B F ..."]:
        """Features without what was erased."""
        erased = features.movedim(1, -1) @ self.weight.T.to(features) + self.bias.to(features)
        return erased.movedim(-1, 1)


class Tapped(nn.Module):
    """One row a scan: the feature layer, then the chosen inner layers, then, for a segmentation, the map at every voxel.

    The first two are means over space where an encoder gives a map. `width` is that of the feature layer, which is all
    that the task (unless it is a segmentation) and the probes see; domain heads see the inner layers, `widths`, as well.
    """

    def __init__(
        self,
        encoder: nn.Module,
        shape: tuple[int, ...],
        *,
        layers: tuple[str, ...] = (),
        erasable: bool = False,
        dense: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.layers, self.dense = encoder, layers, dense
        self._seen: dict[str, Tensor] = {}
        known = dict(encoder.named_modules())
        if missing := [name for name in layers if name not in known]:
            raise ValueError(f"it has no layer {', '.join(missing)} (it has {', '.join(filter(None, known))})")
        for name in layers:
            known[name].register_forward_hook(self._keep(name))
        features = self._try(torch.zeros(2, *([1] if len(shape) > 1 else []), *shape))
        if dense and features.shape[2:] != shape:
            raise ValueError("a segmentation needs an encoder that gives features at every voxel, such as unet")
        self.width = features.shape[1]
        self.erase = Erase(self.width) if erasable else None
        self.widths = (self.width, *(_pooled(self._seen.pop(name)).shape[1] for name in layers))

    def forward(self, volume: Float[Tensor, "B ..."]) -> Float[Tensor, "B R"]:
        """Encode a batch."""
        features: Tensor = self.encoder(volume)
        if self.erase is not None:
            features = self.erase(features)
        row = [_pooled(features), *(_pooled(self._seen.pop(name)) for name in self.layers)]
        if self.dense:
            row.append(features.flatten(1))
        return torch.cat(row, dim=1) if len(row) > 1 else row[0]

    @torch.no_grad()
    def _try(self, scans: Tensor) -> Tensor:
        """What two empty scans give, with nothing learnt from them."""
        features: object = self.encoder.eval()(scans)
        self.encoder.train()
        if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != len(scans):
            raise ValueError("its forward must give one row of features a scan, (B, F), or a map, (B, F, W, H, D)")
        return features

    def _keep(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._seen[name] = output

        return keep


def _pooled(features: Float[Tensor, "B F ..."]) -> Float[Tensor, "B F"]:
    return features.flatten(2).mean(dim=2) if features.ndim > 2 else features
