"""Exact resume: the whole state of a run under way, on disk, so that a killed one goes on from there.

A checkpoint is a safetensors file: the state's tensors, and all the rest of it as JSON in its
header. Its name holds the step and the content's checksum, so that a torn file gives itself away.
"""

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from trainkit.files import atomic, remove_leftovers

State = dict[str, Any]  # tables and lists of tensors, numbers, words, nothing
KEPT = 2  # should the newest one be torn, the one before it is there
SECONDS_BETWEEN = 2.0
SHARE_OF_TIME = 0.01  # writing may take of training


class Checkpoints:
    """The checkpoints of one run, in a folder of their own.

    ``key`` is all that determines the run: a checkpoint with another one is never picked up.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self._written = time.monotonic()
        self._between = SECONDS_BETWEEN

    def due(self) -> bool:
        """Whether it is time for the next one: so rarely that writing costs next to nothing."""
        return time.monotonic() - self._written >= self._between

    def save(self, step: int, state: State) -> None:
        """Write ``state``; the oldest checkpoints go. Raises `StudyError` where the disk is full."""
        began = time.monotonic()
        tensors: dict[str, Tensor] = {}
        packed = json.dumps(_pack(state, tensors))
        content = save(tensors, {"key": self.key, "state": packed})
        name = f"{step:09d}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        with atomic(self.folder / name) as path:
            path.write_bytes(content)
        for old in self._newest_first()[KEPT:]:
            old.unlink(missing_ok=True)
        self._written = time.monotonic()
        self._between = max(SECONDS_BETWEEN, (self._written - began) / SHARE_OF_TIME)

    def load(self) -> State | None:
        """The newest state that is whole and this run's; every other file of the folder goes.

        From here on it counts how long ago the last one was written: training starts now.
        """
        self._written = time.monotonic()
        state = None
        for path in self._newest_first():
            if state is None:
                state = self._read(path)
                if state is not None:
                    continue
            path.unlink(missing_ok=True)
        remove_leftovers(self.folder)
        return state

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.safetensors"), reverse=True)

    def _read(self, path: Path) -> State | None:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:16] != path.stem.partition("-")[2]:
            return None
        try:
            with safe_open(path, "pt") as opened:
                header = opened.metadata() or {}
        except SafetensorError:
            return None
        if header.get("key") != self.key:
            return None
        return _unpack(json.loads(header["state"]), load(content))


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON, with its tensors moved to ``tensors``."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous()
        # How it lay in memory too: sums come out the same only in the same order.
        return {"tensor": name, "stride": value.stride(), "device": str(value.device)}
    if isinstance(value, dict):
        return {key: _pack(each, tensors) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(each, tensors) for each in value]
    return value


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict) and value.keys() == {"tensor", "stride", "device"}:
        stored = tensors[value["tensor"]]
        tensor = torch.empty_strided(
            stored.shape, value["stride"], dtype=stored.dtype, device=value["device"]
        )
        return tensor.copy_(stored)
    if isinstance(value, dict):
        return {key: _unpack(each, tensors) for key, each in value.items()}
    if isinstance(value, list):
        return [_unpack(each, tensors) for each in value]
    return value
