"""Encoders, the user's own among them, domain heads on inner layers and their fresh starts."""

import pytest
import torch
from torch import nn
from torch.optim import Adam

from distunlearn.engine.reset import reset_heads
from distunlearn.models import (
    CustomConfig,
    DomainHeadConfig,
    DomainHeads,
    MlpConfig,
    VggConfig,
    VoxelHead,
    build_encoder,
)
from distunlearn.models.norm import Norm, norm_layer, statistics_of
from distunlearn.models.resnet3d import ResNetConfig
from distunlearn.models.sfcn import SfcnConfig
from distunlearn.models.unet import UnetConfig


@pytest.mark.parametrize(
    "config", [ResNetConfig(channels=(4, 8)), SfcnConfig(channels=(4, 8)), VggConfig(channels=(4, 8))]
)
def test_encoders_take_odd_shapes(config: ResNetConfig | SfcnConfig | VggConfig) -> None:
    """One row of features a scan, whatever the volume's sides."""
    encoder = build_encoder(config, (9, 7, 5))
    assert encoder(torch.randn(3, 1, 9, 7, 5)).shape == (3, config.features) == (3, encoder.width)


@pytest.mark.parametrize(
    ("config", "shape"), [(MlpConfig(hidden=(64,)), (6,)), (VggConfig(channels=(4, 8), norm="none"), (8, 8, 8))]
)
def test_dropout_drops_in_front_of_the_feature_layer_while_training_only(
    config: MlpConfig | VggConfig, shape: tuple[int, ...]
) -> None:
    """Two passes differ in training and not in use; in use the weights give what they give without dropout."""
    torch.manual_seed(0)
    scans = torch.randn(3, *([1] if len(shape) > 1 else []), *shape)
    dropping = build_encoder(config.model_copy(update={"dropout": 0.5}), shape)
    keeping = build_encoder(config, shape)
    for own, other in zip(keeping.parameters(), dropping.parameters(), strict=True):
        own.data.copy_(other.data)
    assert torch.equal(keeping(scans), keeping(scans))
    assert not torch.equal(dropping(scans), dropping(scans))
    assert torch.equal(dropping.eval()(scans), keeping(scans))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_unet_keeps_the_shape_and_in_two_dimensions_the_slices_apart(dimensions: int) -> None:
    """Changing one slice changes the others in 3-D only."""
    torch.manual_seed(0)
    config = UnetConfig(dimensions=dimensions, channels=(4, 8, 8), features=3, norm="none")  # type: ignore[arg-type]
    encoder = build_encoder(config, (10, 8, 5)).encoder
    volume = torch.randn(1, 1, 10, 8, 5)
    other = volume.clone()
    other[..., 0] += 1
    before, after = encoder(volume), encoder(other)
    assert before.shape == (1, 3, 10, 8, 5)
    assert torch.equal(before[..., 1:], after[..., 1:]) == (dimensions == 2)


def test_a_map_stands_behind_its_mean_and_those_of_inner_layers() -> None:
    """Domain heads see the means, a voxel head the map; what is erased from every voxel is erased from the mean."""
    torch.manual_seed(0)
    config, shape = UnetConfig(channels=(4, 6), features=3), (8, 6, 4)
    encoder = build_encoder(config, shape, layers=("down.1",), erasable=True, dense=True)
    volume = torch.randn(2, 1, *shape)
    bottleneck = encoder.encoder.down[1](nn.functional.max_pool3d(encoder.encoder.down[0](volume), 2))
    row = encoder(volume)
    assert encoder.widths == (3, 6)
    voxels = encoder.encoder(volume)
    assert torch.allclose(row[:, :3], voxels.mean(dim=(2, 3, 4)), atol=1e-6)
    assert torch.allclose(row[:, 3:9], bottleneck.mean(dim=(2, 3, 4)), atol=1e-6)
    assert torch.equal(row[:, 9:].view_as(voxels), voxels)
    head = VoxelHead(3, 2, shape)
    assert torch.equal(head(row), head.head(voxels))
    assert encoder.erase is not None
    encoder.erase.fit(torch.diag(torch.tensor([1.0, 0.0, 1.0])), torch.tensor([0.0, 5.0, 0.0]))
    erased = encoder(volume)
    assert torch.allclose(erased[:, 1], torch.tensor(5.0))
    assert torch.allclose(erased[:, [0, 2]], row[:, [0, 2]], atol=1e-6)
    assert torch.allclose(erased[:, 9:].view_as(voxels)[:, 1], torch.tensor(5.0))


def test_a_users_map_serves_a_segmentation_if_it_is_as_large_as_the_scan() -> None:
    """A convolution that keeps the shape does; one that halves it is refused."""
    sizes = {"in_channels": 1, "out_channels": 3, "kernel_size": 1}
    whole = build_encoder(CustomConfig(path="torch.nn:Conv3d", arguments=sizes), (8, 6, 4), dense=True)
    assert whole(torch.randn(2, 1, 8, 6, 4)).shape == (2, 3 + 3 * 8 * 6 * 4)
    with pytest.raises(ValueError, match="features at every voxel"):
        build_encoder(CustomConfig(path="torch.nn:Conv3d", arguments=sizes | {"stride": 2}), (8, 6, 4), dense=True)


def test_a_row_needs_no_map() -> None:
    """Other tasks on a U-Net get the means alone."""
    encoder = build_encoder(UnetConfig(channels=(4, 6), features=3), (8, 6, 4))
    assert encoder(torch.randn(2, 1, 8, 6, 4)).shape == (2, 3)


@pytest.mark.parametrize(
    ("norm", "statistics"),
    [
        ("sync", "global"),
        ("batch", "rank"),
        ("group", "none"),
        ("instance", "none"),
        ("layer", "none"),
        ("none", "none"),
    ],
)
def test_the_norm_of_any_network_is_known(norm: Norm, statistics: str) -> None:
    """Also of a user's own, in which nothing but its layers tells."""
    assert statistics_of(nn.Sequential(nn.Conv3d(1, 8, 1), nn.Sequential(norm_layer(norm, 8)))) == statistics


def test_inner_layers_are_shown_to_domain_heads_only() -> None:
    """Behind the feature layer come the chosen layers, averaged over space; each has as many heads as asked for."""
    encoder = build_encoder(VggConfig(channels=(4, 6), features=5), (8, 8, 4), layers=("blocks.2", "blocks.9"))
    assert encoder.widths == (5, 4, 6)
    features = encoder(torch.randn(2, 1, 8, 8, 4))
    assert features.shape == (2, 15)
    heads = DomainHeads(DomainHeadConfig(ensemble=2), encoder.widths, 3)
    assert heads(features).shape == (2, 6, 3)


def test_heads_can_see_small_differences_as_large_ones() -> None:
    """Standardised over the batch, it makes no difference in which unit, and how far from 0, features are."""
    torch.manual_seed(0)
    heads = DomainHeads(DomainHeadConfig(standardise=True, dropout=0), (5,), 3)
    row = torch.randn(16, 5)
    assert torch.allclose(heads(0.01 * row + 8), heads(row), atol=0.1)
    plain = DomainHeads(DomainHeadConfig(dropout=0), (5,), 3)
    assert not torch.allclose(plain(0.01 * row + 8), plain(row), atol=0.1)
    assert statistics_of(heads) == "global"


def test_a_layer_that_is_not_there_is_named() -> None:
    """And those that are there are listed."""
    with pytest.raises(ValueError, match=r"no layer blocks\.99 \(it has blocks"):
        build_encoder(VggConfig(channels=(4,)), (8, 8, 4), layers=("blocks.99",))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no.such.module:Net", "cannot be built"),
        ("torch.nn:NoSuchLayer", "cannot be built"),
        ("torch.nn:Flatten", None),
        ("torch.nn:functional", "cannot be built"),
        ("fractions:Fraction", "gives Fraction, not a torch.nn.Module"),
        ("torch.nn:Identity", None),
    ],
)
def test_a_users_network_is_checked(path: str, words: str | None) -> None:
    """What cannot be imported, is no network or gives no row a scan is refused with its path and the reason."""
    if words is None:
        encoder = build_encoder(CustomConfig(path=path), (8, 8, 4))
        assert encoder.width == (256 if path.endswith("Flatten") else 1)
    else:
        with pytest.raises(ValueError, match=words):
            build_encoder(CustomConfig(path=path), (8, 8, 4))


def test_heads_start_anew_in_turn() -> None:
    """At every third step one head of three, and its moments, are fresh; the same at every call, and no random state is used."""

    def heads() -> DomainHeads:
        torch.manual_seed(0)
        return DomainHeads(DomainHeadConfig(hidden=4, ensemble=3, reset_every=3), (5,), 2)

    one, other = heads(), heads()
    optimiser = Adam(one.parameters())
    one(torch.randn(4, 5)).sum().backward()
    optimiser.step()
    changed, state = [], torch.get_rng_state()
    for step in range(10):
        before = [nn.utils.parameters_to_vector(head.parameters()).clone() for head in one.heads]
        reset_heads({"domain_head": one}, {"domain": optimiser}, step=step, seed=1)
        after = [nn.utils.parameters_to_vector(head.parameters()) for head in one.heads]
        changed.append([place for place in range(3) if not torch.equal(before[place], after[place])])
    assert changed == [[], [], [], [1], [], [], [2], [], [], [0]]
    assert not optimiser.state, "all heads had their turn, and no moment is left"
    assert torch.equal(torch.get_rng_state(), state)
    for step in range(10):
        reset_heads({"domain_head": other}, {}, step=step, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
