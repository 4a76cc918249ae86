"""Weight averaging: the modern rivals of Lookahead, by PyTorch's own functions."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import swa_utils

from trainkit import spec


class Averaging:
    """The mean of the weights along the way: exponential (Polyak and Juditsky 1992, as it is used
    today), or plain over the last part of training (Izmailov et al. 2018, arXiv 1803.05407).

    It offers what `Lookahead` offers: slow weights beside the model's own.
    """

    def __init__(self, parameters: list[Tensor], options: spec.Averaging) -> None:
        self.first = 1 - options.last if options.name == "tail" else 0.0
        ema = options.name == "ema"
        self._take = (
            swa_utils.get_ema_multi_avg_fn(options.decay) if ema else swa_utils.get_swa_multi_avg_fn()
        )
        self.weights = parameters
        self.mean = [p.detach().clone() for p in parameters]
        self.count = 0

    @torch.no_grad()
    def step(self, z: float) -> None:
        """Take the weights after a step into the mean; ``z`` is the fraction of training done."""
        if z < self.first:
            return
        if self.count:
            self._take(self.mean, self.weights, self.count)
        else:
            torch._foreach_copy_(self.mean, self.weights)
        self.count += 1

    @torch.no_grad()
    def synchronize(self) -> None:
        """Set the weights to their mean, if there is one yet."""
        if self.count:
            torch._foreach_copy_(self.weights, self.mean)

    @contextlib.contextmanager
    def slow_weights(self) -> Iterator[None]:
        """The model with the mean weights, for evaluation; its own come back after."""
        with torch.no_grad():
            kept = [p.detach().clone() for p in self.weights]
        self.synchronize()
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self.weights, kept)

    def state_dict(self) -> dict[str, Any]:
        return {"mean": [p.clone() for p in self.mean], "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.mean, state["mean"])
        self.count = state["count"]
