"""The paper's encoder family."""

import pytest
import torch

from distunlearn.config import load
from distunlearn.models import VggConfig, build_encoder
from distunlearn.models.norm import norm_layer


def test_authors_network_takes_the_papers_input() -> None:
    """The authors' network has their number of parameters and runs at 1×128×128×32, which their published code cannot."""
    config = load(None, preset="authors", overrides=("shards=none",)).encoder
    encoder = build_encoder(config, (128, 128, 32)).eval()
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 2_612_640
    with torch.inference_mode():
        assert encoder(torch.zeros(1, 1, 128, 128, 32)).shape == (1, 96)


@pytest.mark.parametrize("shape", [(5, 4, 3), (16, 16, 4), (33, 17, 9)])
def test_any_volume_fits(shape: tuple[int, int, int]) -> None:
    """Axes of any length are encoded to one row a scan: an axis that has shrunk to one voxel is pooled no further."""
    encoder = build_encoder(VggConfig(channels=(2, 3, 4, 5), features=6), shape)
    assert encoder(torch.zeros(2, 1, *shape)).shape == (2, 6)


@pytest.mark.parametrize("norm", ["group", "instance", "layer", "none"])
def test_each_scan_is_normalised_by_itself(norm: str) -> None:
    """A scan's features do not depend on what else is in the batch, so neither on how many ranks share it."""
    torch.manual_seed(0)
    layer = norm_layer(norm, 6)  # type: ignore[arg-type]
    maps = torch.randn(4, 6, 3, 3, 3)
    assert torch.allclose(layer(maps)[:1], layer(maps[:1]), atol=1e-6)


def test_batch_norm_depends_on_the_batch() -> None:
    """Batch normalisation does mix scans, which is why several ranks refuse it."""
    torch.manual_seed(0)
    maps = torch.randn(4, 6, 3, 3, 3)
    assert not torch.allclose(norm_layer("batch", 6)(maps)[:1], norm_layer("batch", 6)(maps[:1]), atol=1e-3)


def test_sync_norm_alone_is_batch_norm() -> None:
    """In one process the normalisation across ranks is batch normalisation, running figures included."""
    torch.manual_seed(0)
    maps = torch.randn(4, 6, 3, 3, 3)
    ours, theirs = norm_layer("sync", 6), norm_layer("batch", 6)
    assert torch.equal(ours(maps), theirs(maps))
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
