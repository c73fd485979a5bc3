"""A model as one graph for other programs: prepared volumes in, predictions and features out; checked on real scans.

Dimensions: `B` scans, `P` predictions, `F` features.
"""

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from distunlearn.errors import UserError
from distunlearn.evaluate.model import Model

TOLERANCE = 1e-4
"""Largest difference to the original, as a share of the largest value."""
OUTPUTS = ("prediction", "features")
ONNX_NEEDS = ("onnx", "onnxscript", "onnxruntime")


class Deployed(nn.Module):
    """Encoder and task head in one, without the domain heads: (B, 1, W, H, D) to (B, P) in the target's unit, (B, F)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.encoder, self.task_head = model.parts["encoder"], model.parts["task_head"]
        self.task, self.width = model.task, model.width

    def forward(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and features."""
        encoded = self.encoder(volume)
        return self.task.predict(self.task_head(encoded)), encoded[:, : self.width]


def write_torch(model: Model, path: Path, real: Tensor) -> float:
    """Write a torch.export program with any number of scans a batch, and compare it with the original.

    Args:
        model: on the CPU.
        path: .pt2 file to write.
        real: two prepared scans or more.

    Returns:
        The largest difference, as a share of the largest value.

    Raises:
        UserError: it does not say what the original says.
    """
    torch.export.save(_program(model, real), path)
    again = torch.export.load(path).module()
    return _compare(model, again, real, path)


def write_onnx(model: Model, path: Path, real: Tensor) -> float:
    """As `write_torch`, as ONNX, and run by onnxruntime.

    Raises:
        UserError: the packages for it are missing, or it does not say what the original says.
    """
    if missing := [name for name in ONNX_NEEDS if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"--format onnx: {', '.join(missing)} is not installed; run `pip install {' '.join(ONNX_NEEDS)}`"
        )
    onnxruntime = importlib.import_module("onnxruntime")

    with warnings.catch_warnings():  # torch.onnx warns of its own innards
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _program(model, real), input_names=["volume"], output_names=list(OUTPUTS), dynamo=True, verbose=False
        )
    assert program is not None
    program.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(volume: Tensor) -> tuple[Tensor, ...]:
        given = {session.get_inputs()[0].name: volume.numpy()}
        return tuple(torch.from_numpy(np.asarray(found)) for found in session.run(None, given))

    return _compare(model, run, real, path)


def _program(model: Model, real: Tensor) -> torch.export.ExportedProgram:
    dynamic = {"volume": {0: torch.export.Dim("scans", min=1, max=4096)}}
    with torch.no_grad():
        # Traced on nothing: the file keeps its example, and a scan must not travel in it.
        return torch.export.export(Deployed(model).eval(), (torch.zeros_like(real[:2]),), dynamic_shapes=dynamic)


def _compare(model: Model, run: Callable[[Tensor], tuple[Tensor, ...]], real: Tensor, path: Path) -> float:
    """One scan alone, and all together: the batch must be free."""
    worst = 0.0
    with torch.inference_mode():
        for volume in (real[:1], real):
            for ours, theirs in zip(Deployed(model)(volume), run(volume), strict=True):
                worst = max(worst, float((ours - theirs).abs().max() / ours.abs().max().clamp_min(1e-12)))
    if not worst <= TOLERANCE:
        raise UserError(f"{path}: differs from the original by {worst:.2g} of its largest value; do not use it")
    return worst
