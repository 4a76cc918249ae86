"""Splits: what is trained on, tuned on and tested on never overlaps, and is the same for all runs."""

import shutil

import pytest
import torch
from manifests import vouch
from safetensors import safe_open
from safetensors.torch import save_file

from trainkit.datasets import CLASSES, MEAN, SHAPES, STD, Splits, load_splits, split_order
from trainkit.errors import StudyError
from trainkit.spec import Split

COUNT, TESTS = 300, 50


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A stored dataset whose every image holds its own number."""
    path = tmp_path_factory.mktemp("data") / "data.safetensors"

    def numbered(first: int, count: int) -> torch.Tensor:
        numbers = torch.arange(first, first + count)
        return torch.stack([numbers // 256, numbers % 256], 1).to(torch.uint8).view(count, 1, 2, 1)

    tensors = {
        "train_images": numbered(0, COUNT),
        "train_labels": (torch.arange(COUNT) % 10).to(torch.uint8),
        "test_images": numbered(COUNT, TESTS),
        "test_labels": (torch.arange(TESTS) % 10).to(torch.uint8),
    }
    save_file(tensors, path)
    return vouch(path)


def numbers(splits: Splits) -> list[list[int]]:
    """The images of train, validation and test by number."""
    parts = (splits.train, splits.val, splits.test)
    return [
        (part.x.int() * torch.tensor([256, 1]).view(1, 1, 2, 1)).sum((1, 2, 3)).tolist() for part in parts
    ]


@pytest.mark.parametrize(
    ("split", "train_images", "sizes"),
    [
        (Split(validation=100), None, (200, 100, 50)),
        (Split(validation=100), 30, (30, 100, 50)),
        (Split(validation=20, train_limit=120, test_limit=10), None, (100, 20, 10)),
        (Split(validation=20, train_limit=1000, test_limit=1000), None, (280, 20, 50)),
    ],
)
def test_parts_have_their_sizes_and_never_share_an_image(data, split, train_images, sizes):
    train, val, test = numbers(load_splits(data, split, train_images))
    assert (len(train), len(val), len(test)) == sizes
    assert len({*train, *val, *test}) == sum(sizes)
    assert min(test) >= COUNT > max(train + val)


def test_each_image_keeps_its_label(data):
    splits = load_splits(data, Split(validation=50))
    train, val, test = numbers(splits)
    assert splits.train.y.tolist() == [number % 10 for number in train]
    assert splits.val.y.tolist() == [number % 10 for number in val]
    assert splits.test.y.tolist() == [(number - COUNT) % 10 for number in test]
    assert splits.train.y.dtype == torch.int64


def test_the_split_does_not_depend_on_the_seed_of_a_run(data):
    torch.manual_seed(1)
    first = numbers(load_splits(data, Split(validation=50)))
    torch.manual_seed(2)
    assert numbers(load_splits(data, Split(validation=50))) == first


def test_training_on_fewer_images_leaves_validation_and_test_as_they_are(data):
    whole, part = (numbers(load_splits(data, Split(validation=50), count)) for count in (None, 40))
    assert part[1:] == whole[1:]
    assert set(part[0]) < set(whole[0])


def test_a_limit_takes_the_first_of_the_fixed_permutation():
    whole = split_order(50_000, None)
    assert torch.equal(whole.sort().values, torch.arange(50_000))
    assert torch.equal(split_order(50_000, 1200), whole[:1200])
    # Another permutation would be another split: old and new records could not be compared.
    assert whole[:5].tolist() == [16653, 41410, 15905, 43034, 21147]


def test_a_split_that_leaves_nothing_to_train_on_is_refused(data):
    with pytest.raises(StudyError, match=r"split\.validation: 300 leaves nothing of 300 images"):
        load_splits(data, Split(validation=300))


def test_more_training_images_than_there_are_are_refused(data):
    with pytest.raises(StudyError, match=r"recipe\.train_images: 251 asked for, 250 are there"):
        load_splits(data, Split(validation=50), 251)


def test_every_dataset_has_ten_classes_and_statistics_for_each_channel():
    for name, (_, _, channels) in SHAPES.items():
        assert len(CLASSES[name]) == 10
        assert len(MEAN[name]) == len(STD[name]) == channels


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_statistics_are_those_of_the_training_images(root, name):
    path = root / "data" / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with safe_open(path, "pt") as file:
        images = file.get_tensor("train_images")
    counts = [
        torch.bincount(images[..., c].flatten(), minlength=256).double() for c in range(images.shape[-1])
    ]
    values = torch.arange(256).double() / 255
    for c, count in enumerate(counts):
        mean = (count * values).sum() / count.sum()
        std = ((count * (values - mean).square()).sum() / count.sum()).sqrt()
        assert mean.item() == pytest.approx(MEAN[name][c], abs=1e-7)
        assert std.item() == pytest.approx(STD[name][c], abs=1e-7)


# -- After it was verified -------------------------------------------------------------------------


def copied(data, folder):
    for path in (data, data.with_suffix(".json")):
        shutil.copyfile(path, folder / path.name)
    return folder / data.name


@pytest.mark.parametrize("harm", ["changed", "cut off", "empty", "gone"])
def test_a_dataset_that_changed_after_it_was_verified_is_refused(data, tmp_path, harm):
    path = copied(data, tmp_path)
    content = path.read_bytes()
    if harm == "changed":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif harm == "gone":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2 if harm == "cut off" else 0])
    with pytest.raises(StudyError) as caught:
        load_splits(path, Split(validation=50))
    assert str(caught.value).startswith(f"{path}: ")
    assert "delete both and rerun snakemake" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}", "[]"])
def test_a_dataset_without_a_good_manifest_is_refused(data, tmp_path, text):
    path = copied(data, tmp_path)
    path.with_suffix(".json").write_text(text)
    with pytest.raises(StudyError, match="cannot be verified by"):
        load_splits(path, Split(validation=50))
