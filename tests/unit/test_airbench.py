"""The speedrun's network and optimiser against what their papers say of them."""

import pytest
import torch
import torch.nn.functional as F
from tiny import validated

from trainkit import models, optim
from trainkit.optim.muon import Muon, orthogonal
from trainkit.spec import Airbench, Optimizer

SHAPE = (32, 32, 3)


def network(**options) -> torch.nn.Module:
    torch.manual_seed(0)
    return models.build(Airbench(name="airbench", **options), SHAPE, 10)


def test_the_first_convolution_whitens_the_patches_of_the_images_it_was_given():
    # Neighbouring pixels of noise that was blurred are correlated; after whitening none are.
    images = F.avg_pool2d(torch.randn(200, 3, 34, 34, generator=torch.Generator().manual_seed(1)), 3, 1)
    model = network()
    model.initialise(images)
    white = model.whitening(images)[:, :12].transpose(0, 1).flatten(1)
    assert torch.allclose(white @ white.T / white.shape[1], torch.eye(12), atol=0.05)
    assert torch.equal(model.whitening.weight[12:], -model.whitening.weight[:12])
    assert not model.whitening(images).requires_grad  # nothing goes back to it


def test_without_whitening_the_first_convolution_learns_like_any_other():
    model = network(whiten=False)
    before = model.whitening.weight.clone()
    model.initialise(torch.randn(20, 3, 32, 32))
    assert torch.equal(before, model.whitening.weight) and model.whitening.weight.requires_grad


@pytest.mark.parametrize("identity", [True, False])
def test_convolutions_start_by_handing_their_inputs_on(identity):
    conv = network(identity=identity).blocks[1].conv1
    x = torch.randn(2, 64, 5, 5)
    assert torch.allclose(conv(x)[:, :64], x, atol=1e-6) == identity


def test_parameters_are_those_of_the_paper_s_network():
    # Whitening 24x12 (the paper has 24 biases more), six 3x3 convolutions, six
    # BatchNorms, a head without bias.
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    norms = 2 * (2 * 64 + 4 * 256)
    assert sum(p.numel() for p in network().parameters()) == 24 * 12 + convolutions + norms + 2560


@pytest.mark.parametrize("pixels", [16, 24, 32])
def test_it_takes_images_of_several_sizes(pixels):
    assert network()(torch.randn(2, 3, pixels, pixels)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (12, 12)])
def test_the_update_keeps_directions_and_levels_singular_values(shape):
    rank = min(shape)
    u, _, v = torch.linalg.svd(
        torch.randn(shape, generator=torch.Generator().manual_seed(3)), full_matrices=False
    )
    out = orthogonal(u @ torch.diag(torch.linspace(1, 20, rank)) @ v, steps=6)
    levelled = u.T @ out @ v.T
    # Jordan's coefficients hold singular values within 0.68 and 1.13; bfloat16 adds some noise.
    assert levelled.diag().min() > 0.65 and levelled.diag().max() < 1.2
    assert (levelled - torch.diag(levelled.diag())).abs().max() < 0.05


def test_a_step_of_muon_turns_the_filters_against_the_gradient_at_their_own_norm():
    p = torch.nn.Parameter(torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(4)))
    before, gradient = p.detach().clone(), torch.randn(6, 4, 3, 3)
    p.grad = gradient
    Muon([p], lr=0.1, momentum=0.5).step()
    expected = before * 6**0.5 / before.norm() - 0.1 * orthogonal(1.5 * gradient.flatten(1)).view(p.shape)
    assert torch.allclose(p, expected, atol=1e-5)


def test_muon_takes_the_filters_and_sgd_the_rest_each_at_its_own_rate():
    model = network()
    options = validated(
        Optimizer, name="muon", lr=0.2, bias_factor=400, matrix_factor=7, momentum=0.6, weight_decay=0.01
    )
    optimizer = optim.build(options, model)
    rates = {group["factor"]: sum(p.numel() for p in group["params"]) for group in optimizer.param_groups}
    assert rates == {1.0: 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256), 7: 2560, 400: 1152}
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in model.named_parameters() if p.requires_grad}
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters() if p.requires_grad)


def test_two_optimisers_together_keep_both_states():
    model = network(widths=[8, 8])
    options = validated(Optimizer, name="muon", lr=0.2, momentum=0.6)
    first = optim.build(options, model)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    first.step()
    second = optim.build(options, model)
    optim.load_state(second, optim.state(first))
    one, other = ([each["momentum_buffer"] for each in optim.state(o) if each] for o in (first, second))
    assert len(one) == sum(p.requires_grad for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
