"""Datasets from their sources: verified bytes, decoded to uint8 arrays, stored as safetensors."""

import gzip
import hashlib
import json
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
from safetensors.numpy import save

from trainkit.config import Dataset
from trainkit.errors import StudyError
from trainkit.files import write_bytes, write_json
from trainkit.progress import print_line
from trainkit.sources import first_good, unpack

Arrays = dict[str, np.ndarray]


def decode_mnist(folder: Path) -> Arrays:
    """Read the four idx files (plain or gzipped, at any depth) of LeCun's MNIST."""
    names = {
        "train_images": ("train-images-idx3-ubyte", (60_000, 28, 28, 1)),
        "train_labels": ("train-labels-idx1-ubyte", (60_000,)),
        "test_images": ("t10k-images-idx3-ubyte", (10_000, 28, 28, 1)),
        "test_labels": ("t10k-labels-idx1-ubyte", (10_000,)),
    }
    arrays = {}
    for key, (name, shape) in names.items():
        path = _find(folder, name, f"{name}.gz")
        content = path.read_bytes()
        if path.suffix == ".gz":
            with gzip.open(path) as stream:
                content = stream.read(2 * int(np.prod(shape)))  # no more, whatever it unpacks to
        size, offset = int(np.prod(shape)), 4 + 4 * len(shape) - (4 if len(shape) == 4 else 0)
        if len(content) != size + offset:
            raise StudyError(f"{name} has {len(content)} bytes, expected {size + offset}")
        arrays[key] = np.frombuffer(content, np.uint8, offset=offset).reshape(shape)
    return arrays


def decode_cifar10(folder: Path) -> Arrays:
    """Read CIFAR-10 from the official archive, its unpacked batches, or npm's PNG strips."""
    archive = next(folder.rglob("cifar-10-python.tar.gz"), None)
    if archive is not None:
        with TemporaryDirectory(prefix="study-") as unpacked:
            return _cifar10_from_batches(unpack(archive, Path(unpacked)))
    if next(folder.rglob("data_batch_1.png"), None):
        return _cifar10_from_png(folder)
    return _cifar10_from_batches(folder)


def _cifar10_from_batches(folder: Path) -> Arrays:
    batches = [_unpickle(_find(folder, f"data_batch_{i}")) for i in range(1, 6)]
    test = _unpickle(_find(folder, "test_batch"))
    return {
        "train_images": np.concatenate([_planes_to_pixels(b[b"data"]) for b in batches]),
        "train_labels": np.concatenate([np.array(b[b"labels"], np.uint8) for b in batches]),
        "test_images": _planes_to_pixels(test[b"data"]),
        "test_labels": np.array(test[b"labels"], np.uint8),
    }


def _cifar10_from_png(folder: Path) -> Arrays:
    from PIL import Image

    def strip(name: str) -> np.ndarray:
        return np.asarray(Image.open(_find(folder, name)).convert("RGB")).reshape(-1, 32, 32, 3)

    def labels(name: str) -> np.ndarray:
        return np.array(json.loads(_find(folder, name).read_text()), np.uint8)

    return {
        "train_images": np.concatenate([strip(f"data_batch_{i}.png") for i in range(1, 6)]),
        "train_labels": labels("train_lables.json"),
        "test_images": strip("test_batch.png"),
        "test_labels": labels("test_lables.json"),
    }


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and plain containers; anything else, code above all, is refused."""

    ALLOWED: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.ALLOWED:
            raise StudyError(f"a pickle asks for {module}.{name}, which no CIFAR-10 batch needs")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickle(path: Path) -> dict:
    try:
        with path.open("rb") as stream:
            return _ArraysOnly(stream, encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, AttributeError) as error:
        raise StudyError(f"{path.name} is not a CIFAR-10 batch ({error})") from error


def _planes_to_pixels(data: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _find(folder: Path, *names: str) -> Path:
    for name in names:
        found = next((path for path in folder.rglob(name) if path.is_file()), None)
        if found is not None:
            return found
    raise StudyError(f"holds no {names[0]}")


DECODERS = {"mnist": decode_mnist, "cifar10": decode_cifar10}

# -- Verifying and storing -----------------------------------------------------------------


def prepare(name: str, config: Dataset, tensors: Path, manifest: Path) -> None:
    """Bring a dataset from the first good source; write its tensors and its manifest.

    Both tell nothing of the source: what was made of them stands, wherever they come from the next time.
    """

    def read(folder: Path) -> Arrays:
        arrays = DECODERS[name](folder)
        for key, expected in config.sha256.items():
            got = hashlib.sha256(np.ascontiguousarray(arrays[key]).tobytes()).hexdigest()
            if got != expected:
                raise StudyError(f"{key} has SHA-256 {got}, expected {expected}")
        return arrays

    arrays, source = first_good(
        name, config.sources, read,
        f"To supply the files by hand, put them into a folder and add "
        f"{{kind: folder, path: FOLDER}} as the first of datasets.{name}.sources in config/config.yaml",
    )  # fmt: skip
    print_line(f"{name}: from {source}")
    content = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
    write_bytes(tensors, content)
    shapes = {key: list(array.shape) for key, array in arrays.items()}
    facts = {"dataset": name, "sha256": dict(config.sha256), "shapes": shapes}
    write_json(manifest, facts | {"file_sha256": hashlib.sha256(content).hexdigest()})
