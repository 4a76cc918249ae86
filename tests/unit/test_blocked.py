"""Networks in oneDNN's blocks compute what they compute in PyTorch's own layouts."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainkit import blocked, device, memory, models, profiling
from trainkit.device import Numerics
from trainkit.spec import Airbench, ConvNet, FasterNet, RepVGG, ResNet

CPU = torch.device("cpu")
NETWORKS = [
    ResNet(name="resnet", depth=8),
    ResNet(name="resnet", depth=18, width=16, stem_stride=2),
    ConvNet(name="convnet", stages=[[16, 32], [48]], stem_kernel=5, stem_stride=2, dropout=0.2),
    Airbench(name="airbench", widths=[16, 32, 32]),
    Airbench(name="airbench", widths=[16, 32, 32], whiten=False),
    RepVGG(name="repvgg", depths=[2, 1, 1], widths=[16, 32, 48], stem_stride=2),
]


def both(options, seed=0):
    """A network in contiguous memory and the same in blocks, images for them, and their answers."""
    torch.manual_seed(seed)
    x, y = torch.randn(8, 3, 32, 32), torch.randint(0, 10, (8,))
    plain = models.build(options, (32, 32, 3), 10)
    if isinstance(plain, models.NeedsImages):
        plain.initialise(x)
    return plain, Numerics(layout="blocked").lay_out(copy.deepcopy(plain)), x, y


def loss(network, x, y, precision="float32"):
    torch.manual_seed(1)  # for dropout
    with device.autocast(CPU, precision):
        return F.cross_entropy(network(x).float(), y)


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Which units each ReLU let through, and which pixel each max-pool took, in the order of the calls."""
    taken: list[torch.Tensor] = []
    relu, pool = F.relu, F.max_pool2d

    def seen_relu(x, inplace=False):
        out = relu(x, inplace=inplace)
        taken.append(blocked.dense(out.detach()) > 0)
        return out

    def seen_pool(x, *args, **options):
        indices = {**options, "return_indices": True}
        taken.append(F.max_pool2d_with_indices(blocked.dense(x.detach()), *args, **indices)[1])
        return pool(x, *args, **options)

    monkeypatch.setattr(F, "relu", seen_relu)
    monkeypatch.setattr(F, "max_pool2d", seen_pool)
    return taken


@pytest.mark.parametrize("options", NETWORKS, ids=lambda options: options.name)
def test_loss_gradients_statistics_and_evaluation_are_the_same(options, decided):
    compared = 0
    for seed in range(5):
        plain, other, x, y = both(options, seed)
        assert any(isinstance(module, blocked.Conv2d) for module in other.modules())
        assert not any(isinstance(module, blocked.Conv2d) for module in plain.modules())
        decided.clear()
        expected, found = loss(plain, x, y), loss(other, x, y)
        assert torch.allclose(found, expected, atol=1e-5)
        half = len(decided) // 2
        alike = all(torch.equal(a, b) for a, b in zip(decided[:half], decided[half:], strict=True))
        expected.backward()
        found.backward()
        assert [p.grad is None for p in plain.parameters()] == [p.grad is None for p in other.parameters()]
        pairs = [(a.grad, b.grad) for a, b in zip(plain.parameters(), other.parameters(), strict=True)]
        # A ReLU at zero up to rounding may open in one layout alone, and 2% of a gradient go with it.
        if alike:
            compared += 1
            assert all(torch.allclose(b, a, rtol=1e-3, atol=1e-4) for a, b in pairs if a is not None)
        assert plain.state_dict().keys() == other.state_dict().keys()
        for key, value in plain.state_dict().items():
            assert torch.allclose(other.state_dict()[key], value, atol=1e-4), key
        with torch.inference_mode():
            assert torch.allclose(loss(other.eval(), x, y), loss(plain.eval(), x, y), atol=1e-4)
    assert compared


@pytest.mark.skipif(not blocked.available(torch.bfloat16), reason="this CPU has no AVX512")
@pytest.mark.parametrize("options", NETWORKS, ids=lambda options: options.name)
def test_bfloat16_rounds_no_worse_than_in_contiguous_memory(options):
    off = {"contiguous": 0.0, "blocked": 0.0}
    for seed in range(3):
        plain, other, x, y = both(options, seed)
        exact = copy.deepcopy(plain)
        loss(exact, x, y).backward()
        for layout, network in (("contiguous", plain), ("blocked", other)):
            loss(network, x, y, "bfloat16").backward()
            for p, e in zip(network.parameters(), exact.parameters(), strict=True):
                if e.grad is not None:
                    off[layout] += ((p.grad - e.grad).norm() / e.grad.norm()).item()
    assert 0 < off["blocked"] < 1.5 * off["contiguous"]


def test_a_convolution_that_pads_otherwise_gets_dense_maps_and_stays_as_it_is():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"),
    ]
    plain = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(16, 8, 3, padding="same"), nn.Flatten())
    other, x = copy.deepcopy(plain), torch.randn(2, 3, 8, 8)
    blocked.use(other)
    assert [isinstance(other[place], blocked.Conv2d) for place in (0, 2, 4)] == [True, False, False]
    assert torch.allclose(other(x), plain(x), atol=1e-5)


def test_feature_maps_stay_in_blocks_and_the_head_gets_dense_ones():
    _, other, x, _ = both(ResNet(name="resnet", depth=8))
    seen = {}
    for name, module in other.named_modules():
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.is_mkldnn}))
    other(x)
    pool = next(name for name, module in other.named_modules() if isinstance(module, nn.AdaptiveAvgPool2d))
    maps = {
        name: is_blocked for name, is_blocked in seen.items() if name and int(name.split(".")[0]) < int(pool)
    }
    assert len(maps) > 15
    assert all(maps.values())
    assert not seen[pool]


def test_memory_and_arithmetic_are_counted_as_of_plain_tensors():
    plain, other, x, y = both(ConvNet(name="convnet", stages=[[16, 32], [64]], dropout=0.0))
    flops = [profiling.count_flops(lambda net=net: loss(net, x, y).backward()) for net in (plain, other)]
    assert flops[0] == flops[1]
    kept = [memory.saved_bytes(lambda net=net: loss(net, x, y)) for net in (plain, other)]
    assert kept[1] == pytest.approx(kept[0], rel=0.3)
    twice = memory.saved_bytes(lambda: loss(other, torch.cat([x, x]), torch.cat([y, y])))
    weights = sum(p.numel() * p.element_size() for p in other.parameters())
    assert twice - kept[1] == pytest.approx(kept[1] - weights, rel=0.2)


def found(blocks, choice="float32"):
    """A hardware capture that found blocks to be faster, or not, and contiguous memory otherwise."""
    training = {"choice": choice, "layout": "contiguous", "blocked": blocks}
    return {"precision": {family: {"training": training} for family in (device.CONVOLUTION, device.WIDE)}}


def test_only_networks_that_can_are_put_into_blocks():
    for options in NETWORKS:
        assert device.measured(options, found(True)).layout == "blocked"
        assert device.measured(options, found(False)).layout == "contiguous"
        assert device.measured(options, found(True), compile=True).layout == "contiguous"
    assert device.measured(FasterNet(name="fasternet"), found(True)).layout == "contiguous"


def test_bfloat16_without_its_instructions_is_not_put_into_blocks(monkeypatch):
    monkeypatch.setattr(blocked, "available", lambda dtype: dtype == torch.float32)
    for precision, layout in (("float32", "blocked"), ("bfloat16", "contiguous")):
        assert device.measured(NETWORKS[0], found(True, precision)).layout == layout
        assert device.measured(NETWORKS[0], found(True), precision=precision).layout == layout
