"""Decoding and verifying datasets, from synthetic files of the real layouts."""

import gzip
import hashlib
import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from trainkit.config import Dataset
from trainkit.decoding import decode_cifar10, decode_mnist, prepare
from trainkit.errors import StudyError

RANDOM = np.random.default_rng(0)


# -- Synthetic files -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist() -> dict[str, np.ndarray]:
    """Arrays of MNIST's real shapes (the decoder knows them)."""
    return {
        "train_images": np.resize(RANDOM.integers(0, 256, 9973, np.uint8), (60_000, 28, 28, 1)),
        "train_labels": np.resize(np.arange(10, dtype=np.uint8), 60_000),
        "test_images": np.resize(RANDOM.integers(0, 256, 7919, np.uint8), (10_000, 28, 28, 1)),
        "test_labels": np.resize(np.arange(9, -1, -1, dtype=np.uint8), 10_000),
    }


def write_mnist(folder: Path, arrays: dict[str, np.ndarray], gz: bool = False) -> Path:
    """The four idx files: magic number 2051 or 2049, sizes (big-endian), bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, array in arrays.items():
        part, kind = key.split("_")
        name = f"{'train' if part == 'train' else 't10k'}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
        header = (2051, len(array), 28, 28) if kind == "images" else (2049, len(array))
        content = np.array(header, ">i4").tobytes() + array.tobytes()
        path = folder / (f"{name}.gz" if gz else name)
        path.write_bytes(gzip.compress(content, 1) if gz else content)
    return folder


@pytest.fixture(scope="module")
def cifar10() -> dict[str, np.ndarray]:
    """Arrays of CIFAR-10's layout, with ten images a batch."""
    return {
        "train_images": RANDOM.integers(0, 256, (50, 32, 32, 3), np.uint8),
        "train_labels": RANDOM.integers(0, 10, 50).astype(np.uint8),
        "test_images": RANDOM.integers(0, 256, (10, 32, 32, 3), np.uint8),
        "test_labels": RANDOM.integers(0, 10, 10).astype(np.uint8),
    }


def cifar10_batches(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    """The official pickles: rows of 3072 bytes, red plane first, and a list of labels."""

    def batch(images: np.ndarray, labels: np.ndarray) -> bytes:
        rows = np.stack([np.concatenate([image[..., c].ravel() for c in range(3)]) for image in images])
        content = {b"data": rows, b"labels": labels.tolist(), b"batch_label": b"x", b"filenames": [b"a.png"]}
        return pickle.dumps(content, protocol=2)

    files = {"test_batch": batch(arrays["test_images"], arrays["test_labels"])}
    for i in range(5):
        part = slice(10 * i, 10 * i + 10)
        files[f"data_batch_{i + 1}"] = batch(arrays["train_images"][part], arrays["train_labels"][part])
    return files


def write_cifar10_archive(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return folder


def write_cifar10_png(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """npm's strips: one image a row of 1024 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    strips = {f"data_batch_{i + 1}": arrays["train_images"][10 * i : 10 * i + 10] for i in range(5)}
    for name, images in {**strips, "test_batch": arrays["test_images"]}.items():
        Image.fromarray(images.reshape(len(images), 1024, 3)).save(folder / f"{name}.png")
    for part in ("train", "test"):
        (folder / f"{part}_lables.json").write_text(json.dumps(arrays[f"{part}_labels"].tolist()))
    return folder


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[key].dtype == np.uint8 and np.array_equal(a[key], b[key]) for key in b
    )


# -- Decoding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gzipped"])
def test_mnist_comes_out_of_its_idx_files(tmp_path, mnist, gz):
    write_mnist(tmp_path / "package" / "data", mnist, gz)
    assert same(decode_mnist(tmp_path), mnist)


def test_an_idx_file_within_a_folder_of_its_own_name_is_found(tmp_path, mnist):
    write_mnist(tmp_path, mnist)
    for path in list(tmp_path.iterdir()):
        content = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / path.name).write_bytes(content)
    assert same(decode_mnist(tmp_path), mnist)


def test_an_idx_file_of_another_length_is_refused(tmp_path, mnist):
    write_mnist(tmp_path, mnist)
    path = tmp_path / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StudyError, match="t10k-labels-idx1-ubyte has 10007 bytes, expected 10008"):
        decode_mnist(tmp_path)


def test_a_missing_file_is_named(tmp_path, mnist):
    write_mnist(tmp_path, mnist)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(StudyError, match="holds no train-labels-idx1-ubyte"):
        decode_mnist(tmp_path)


def test_cifar10_comes_out_of_the_official_archive(tmp_path, cifar10):
    assert same(decode_cifar10(write_cifar10_archive(tmp_path, cifar10_batches(cifar10))), cifar10)


def test_cifar10_comes_out_of_the_unpacked_batches(tmp_path, cifar10):
    for name, content in cifar10_batches(cifar10).items():
        (tmp_path / name).write_bytes(content)
    assert same(decode_cifar10(tmp_path), cifar10)


def test_cifar10_comes_out_of_the_png_strips(tmp_path, cifar10):
    assert same(decode_cifar10(write_cifar10_png(tmp_path / "package", cifar10)), cifar10)


class Evil:
    """A pickle of it creates a file when it is read freely."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_that_asks_for_code_is_refused_and_the_code_not_run(tmp_path, cifar10):
    files = cifar10_batches(cifar10)
    files["data_batch_3"] = pickle.dumps({b"data": Evil(tmp_path / "owned"), b"labels": []})
    write_cifar10_archive(tmp_path, files)
    with pytest.raises(StudyError, match=r"a pickle asks for pathlib.*, which no CIFAR-10 batch needs"):
        decode_cifar10(tmp_path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "content", [b"", b"<!doctype html>", pickle.dumps([1])[:-2]], ids=["empty", "page", "cut"]
)
def test_a_batch_that_is_no_pickle_is_named(tmp_path, cifar10, content):
    write_cifar10_archive(tmp_path, cifar10_batches(cifar10) | {"test_batch": content})
    with pytest.raises(StudyError, match="test_batch is not a CIFAR-10 batch"):
        decode_cifar10(tmp_path)


# -- Verifying and storing -----------------------------------------------------------------------


def config(arrays: dict[str, np.ndarray], *folders: Path) -> Dataset:
    sha256 = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items()}
    return Dataset(sources=[{"kind": "folder", "path": str(folder)} for folder in folders], sha256=sha256)


def test_a_good_source_becomes_tensors_and_a_manifest(tmp_path, cifar10):
    folder = write_cifar10_png(tmp_path / "mine", cifar10)
    out = tmp_path / "out"
    prepare("cifar10", config(cifar10, folder), out / "x.safetensors", out / "x.json")
    assert same(load_file(out / "x.safetensors"), cifar10)
    manifest = json.loads((out / "x.json").read_text())
    assert manifest["dataset"] == "cifar10"
    assert manifest["sha256"] == config(cifar10, folder).sha256
    assert manifest["shapes"]["train_images"] == [50, 32, 32, 3]


def test_all_sources_of_the_same_images_leave_the_same_bytes(tmp_path, cifar10):
    png = write_cifar10_png(tmp_path / "png", cifar10)
    official = write_cifar10_archive(tmp_path / "official", cifar10_batches(cifar10))
    for name, folder in (("a", png), ("b", official)):
        prepare("cifar10", config(cifar10, folder), tmp_path / name, tmp_path / f"{name}.json")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def altered(arrays: dict[str, np.ndarray], key: str) -> dict[str, np.ndarray]:
    """The arrays with one bit of one of them turned over."""
    changed = arrays[key].copy()
    changed.flat[17 % changed.size] ^= 1
    return {**arrays, key: changed}


@pytest.mark.parametrize("key", ["train_images", "train_labels", "test_images", "test_labels"])
def test_one_wrong_bit_is_enough_to_refuse_a_source_and_nothing_is_written(tmp_path, cifar10, key):
    folder = write_cifar10_archive(tmp_path / "mine", cifar10_batches(altered(cifar10, key)))
    out = tmp_path / "out"
    with pytest.raises(StudyError, match=f"{key} has SHA-256 [0-9a-f]{{64}}, expected [0-9a-f]{{64}}"):
        prepare("cifar10", config(cifar10, folder), out / "x.safetensors", out / "x.json")
    assert not out.exists()


def test_after_a_wrong_folder_the_next_one_is_taken(tmp_path, cifar10, capsys):
    wrong = write_cifar10_png(tmp_path / "wrong", altered(cifar10, "test_images"))
    right = write_cifar10_png(tmp_path / "right", cifar10)
    prepare("cifar10", config(cifar10, wrong, right), tmp_path / "x", tmp_path / "x.json")
    assert f"cifar10: from folder {right}" in capsys.readouterr().err


def test_a_cut_archive_is_refused_and_what_was_there_before_stays(tmp_path, cifar10):
    folder = write_cifar10_archive(tmp_path / "mine", cifar10_batches(cifar10))
    archive = folder / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-5000])
    (tmp_path / "x").write_text("old")
    with pytest.raises(StudyError) as caught:
        prepare("cifar10", config(cifar10, folder), tmp_path / "x", tmp_path / "x.json")
    assert "cifar-10-python.tar.gz is not a good archive" in str(caught.value)
    assert "add {kind: folder, path: FOLDER} as the first of datasets.cifar10.sources" in str(caught.value)
    assert (tmp_path / "x").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "x"}


def test_a_packed_file_that_unpacks_without_end_is_read_no_further_than_needed(tmp_path, mnist):
    write_mnist(tmp_path, mnist, gz=True)
    bomb = tmp_path / "t10k-labels-idx1-ubyte.gz"
    bomb.write_bytes(gzip.compress(bytes(10**8), 9))
    with pytest.raises(StudyError, match=r"has 20000 bytes, expected 10008"):
        decode_mnist(tmp_path)


def test_a_full_disk_leaves_neither_tensors_nor_manifest(small_disk, tmp_path, cifar10):
    source = write_cifar10_png(tmp_path / "source", cifar10)
    folder = small_disk(100)
    with pytest.raises(StudyError, match="No space left on device"):
        prepare("cifar10", config(cifar10, source), folder / "x.safetensors", folder / "x.json")
    assert list(folder.iterdir()) == []
