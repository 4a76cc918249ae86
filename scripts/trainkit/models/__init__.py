"""The networks: one file an architecture, each with ``build(options, shape, classes)``.

To add one: its file here, its options in ``spec.py``, an experiment in ``config/config.yaml``.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor, nn

    from trainkit.spec import Model


IMAGES_NEEDED = 5000


@runtime_checkable
class NeedsImages(Protocol):
    """A network that sets weights from training images, ``(N, C, H, W) float32`` normalised."""

    def initialise(self, images: "Tensor") -> None: ...


def module(name: str) -> "ModuleType":
    """The file of an architecture.

    Besides ``build`` it says its ``FAMILY``: which of the stand-ins in ``precision.py`` tells what is
    fastest for it on a machine; a function ``widest``, where it has one, puts it among the wide convolutions
    or not. ``BLOCKED`` it has, and true, if its feature maps can stay in oneDNN's blocks (``blocked.py``).
    """
    return importlib.import_module(f"trainkit.models.{name}")


def architectures() -> set[str]:
    """The names of the networks that have a file here."""
    return {path.stem for path in Path(__file__).parent.glob("[!_]*.py")}


def build(options: "Model", shape: tuple[int, int, int], classes: int) -> "nn.Module":
    """The network that ``options`` names, for images of ``shape`` (height, width, channels)."""
    return module(options.name).build(options, shape, classes)
