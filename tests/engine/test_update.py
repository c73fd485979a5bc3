"""An update adds up gradients, or says in one line why it cannot."""

from typing import Any

import pytest
import torch
from torch import Tensor

from distunlearn.engine.update import Update
from distunlearn.errors import UserError


class _Refusing(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, values: Tensor, _message: str) -> Tensor:
        _Refusing.message = _message
        return values.clone()

    @staticmethod
    def backward(_: Any, _gradient: Tensor) -> tuple[Tensor, None]:
        raise RuntimeError(_Refusing.message)


def test_what_cannot_be_deterministic_is_named_in_one_line() -> None:
    """Torch's refusal becomes a line with the setting; any other error stays what it is."""
    weight = torch.nn.Parameter(torch.ones(2))
    update = Update(torch.optim.SGD([weight]), world_size=1)
    refusal = "max_pool3d_backward_cuda does not have a deterministic implementation, but you set 'x'. You can turn"
    with pytest.raises(UserError, match=r"^engine\.deterministic: max_pool3d_backward_cuda .* implementation; set"):
        update.backward(_Refusing.apply(weight, refusal).sum())
    with pytest.raises(RuntimeError, match="out of memory"):
        update.backward(_Refusing.apply(weight, "out of memory").sum())
