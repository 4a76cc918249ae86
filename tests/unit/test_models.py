"""The networks: sizes, shapes, and their unusual parts against slow references."""

import pytest
import torch

from trainkit import datasets, models
from trainkit.models.convnextv2 import DropPath, GlobalResponseNorm
from trainkit.models.fasternet import PartialConv
from trainkit.models.repvgg import RepVGGBlock, fold
from trainkit.models.resnet import ShortcutA
from trainkit.spec import ConvNet, ConvNeXtV2, Dense, EfficientNetLite0, FasterNet, RepVGG, ResNet

MNIST, CIFAR10 = datasets.SHAPES["mnist"], datasets.SHAPES["cifar10"]


def parameters(options, shape: tuple[int, int, int]) -> int:
    with torch.device("meta"):
        model = models.build(options, shape, 10)
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7")]
)
def test_a_resnet_has_as_many_parameters_as_in_table_6_of_the_paper(depth, millions):
    count = parameters(ResNet(name="resnet", depth=depth), CIFAR10)
    assert f"{count / 1e6:.{len(millions) - 2}f}" == millions


def test_resnet_18_with_a_cifar_stem_has_11_17_million_parameters():
    assert parameters(ResNet(name="resnet", depth=18, width=64), CIFAR10) == 11_173_962


def test_resnet_20_has_the_layers_that_its_name_counts():
    model = models.build(ResNet(name="resnet", depth=20), CIFAR10, 10)
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 20


def test_the_dense_network_has_407050_parameters():
    assert parameters(Dense(name="dense"), MNIST) == 784 * 512 + 512 + 512 * 10 + 10 == 407_050


@pytest.mark.parametrize("shape", [MNIST, CIFAR10], ids=["mnist", "cifar10"])
@pytest.mark.parametrize(
    "options",
    [
        Dense(name="dense", hidden=16),
        ConvNet(name="convnet", stages=[[4, 8], [8]], stem_kernel=5, stem_stride=2, dropout=0.1),
        ConvNet(name="convnet", stages=[[4], [4], [8, 8]]),
        ResNet(name="resnet", depth=8),
        ResNet(name="resnet", depth=18, width=8),  # with 4, oneDNN crashes on processors without AVX512
        ConvNeXtV2(name="convnextv2", depths=[1, 1, 1], widths=[8, 12, 16]),
        ConvNeXtV2(name="convnextv2", depths=[1, 1], widths=[8, 16], patch=2, kernel=3),
        ConvNeXtV2(name="convnextv2", depths=[1, 1], widths=[8, 16], patch=4),
        ConvNeXtV2(name="convnextv2", depths=[1], widths=[8], grn=False),
        RepVGG(name="repvgg", depths=[1, 2, 1], widths=[8, 8, 12]),
        FasterNet(name="fasternet", depths=[1, 2], widths=[8, 16], patch=2, features=16),
        EfficientNetLite0(name="efficientnet_lite0", weights="random", cut=4),
        EfficientNetLite0(name="efficientnet_lite0", weights="random", cut=8, image_size=64),
    ],
    ids=lambda options: "-".join(f"{v}" for v in options.model_dump(exclude_defaults=True).values()),
)
def test_a_network_gives_a_finite_logit_for_each_class_and_trains_all_its_parameters(options, shape):
    torch.manual_seed(0)
    model = models.build(options, shape, 7)
    x = torch.randn(4, shape[2], shape[0], shape[1]).contiguous(memory_format=torch.channels_last)
    logits = model(x)
    assert logits.shape == (4, 7)
    assert torch.isfinite(logits).all()
    logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_shortcut_a_keeps_every_second_pixel_and_adds_channels_of_zeros():
    x = torch.arange(32.0).view(1, 2, 4, 4)
    out = ShortcutA(3)(x)
    assert out.shape == (1, 5, 2, 2)
    assert out[0, 0].tolist() == [[0, 2], [8, 10]]
    assert out[0, 1].tolist() == [[16, 18], [24, 26]]
    assert not out[0, 2:].any()


# -- ConvNeXt V2 -----------------------------------------------------------------------------


def test_global_response_norm_is_the_papers_algorithm():
    torch.manual_seed(0)
    norm = GlobalResponseNorm(5)
    torch.nn.init.normal_(norm.gamma)
    torch.nn.init.normal_(norm.beta)
    x = torch.randn(3, 4, 6, 5)
    expected = torch.empty_like(x)
    for image in range(3):
        responses = [x[image, :, :, c].pow(2).sum().sqrt() for c in range(5)]
        mean = sum(responses) / 5
        for c in range(5):
            scaled = x[image, :, :, c] * responses[c] / (mean + 1e-6)
            expected[image, :, :, c] = norm.gamma[c] * scaled + norm.beta[c] + x[image, :, :, c]
    assert torch.allclose(norm(x), expected, atol=1e-5)


def test_a_new_global_response_norm_is_the_identity():
    x = torch.randn(2, 3, 3, 4)
    assert torch.equal(GlobalResponseNorm(4)(x), x)


def test_drop_path_drops_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    out = DropPath(0.25).train()(torch.ones(8000, 2, 3, 1))
    flat = out.flatten(1)
    assert torch.equal(flat.amin(1), flat.amax(1))  # an image is dropped or kept as a whole
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert out.mean().item() == pytest.approx(1, abs=0.03)
    assert (flat[:, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("layer", [DropPath(0.5).eval(), DropPath(0.0).train()], ids=["eval", "rate 0"])
def test_drop_path_is_the_identity_where_nothing_is_dropped(layer):
    x = torch.randn(16, 2, 2, 2)
    assert torch.equal(layer(x), x)


def test_drop_path_rates_rise_linearly_over_the_blocks():
    options = ConvNeXtV2(name="convnextv2", depths=[1, 2, 1], widths=[4, 4, 4], drop_path=0.3)
    model = models.build(options, CIFAR10, 10)
    rates = [module.rate for module in model.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_without_grn_convnext_has_no_grn_and_as_many_other_parameters():
    one, other = (
        sum(p.numel() for p in models.build(options, CIFAR10, 10).parameters())
        for options in (
            ConvNeXtV2(name="convnextv2", depths=[2], widths=[8], grn=grn) for grn in (True, False)
        )
    )
    assert one - other == 2 * 2 * 4 * 8  # gamma and beta of both blocks


# -- RepVGG --------------------------------------------------------------------------------------


def trained_a_little(options) -> torch.nn.Module:
    """A network whose norms have statistics and scales of their own."""
    torch.manual_seed(0)
    model = models.build(options, CIFAR10, 10)
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.normal_(norm.weight, 1, 0.3)
        torch.nn.init.normal_(norm.bias)
    for _ in range(3):
        model(torch.randn(8, 3, 32, 32))
    return model.eval()


def test_folded_repvgg_computes_the_same_with_plain_convolutions_alone():
    model = trained_a_little(RepVGG(name="repvgg", depths=[2, 3, 2], widths=[8, 12, 16], stem_stride=2))
    x = torch.randn(16, 3, 32, 32)
    folded = fold(model)
    assert torch.allclose(folded(x), model(x), atol=1e-4)
    kinds = {type(m) for m in folded.modules()}
    assert RepVGGBlock not in kinds and torch.nn.BatchNorm2d not in kinds
    assert sum(isinstance(m, torch.nn.Conv2d) for m in folded.modules()) == 7
    assert isinstance(model[0], RepVGGBlock)  # the trained one stays as it is


def test_a_repvgg_block_has_an_identity_where_shapes_allow_it():
    identities = [
        RepVGGBlock(*arguments).rbr_identity is not None for arguments in ((4, 4, 1), (4, 4, 2), (4, 8, 1))
    ]
    assert identities == [True, False, False]


# -- FasterNet -----------------------------------------------------------------------------------


def test_a_partial_convolution_touches_a_quarter_of_the_channels_alone():
    torch.manual_seed(0)
    layer, x = PartialConv(16, 4), torch.randn(2, 16, 5, 5)
    out = layer(x)
    assert torch.equal(out[:, 4:], x[:, 4:])
    assert not torch.isclose(out[:, :4], x[:, :4]).any(dim=(2, 3)).all()
    assert torch.allclose(out[:, :4], layer.partial_conv3(x[:, :4]), atol=1e-6)
    # Section 3.2: a quarter of the channels is a sixteenth of a dense convolution's work.
    assert layer.partial_conv3.weight.numel() * 16 == 16 * 16 * 9
