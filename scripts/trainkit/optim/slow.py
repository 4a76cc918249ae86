"""Weights that follow an optimiser's more slowly: Lookahead's, or an average over the steps."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class SlowWeights:
    """Slow weights beside ``fast`` ones, which an optimiser moves. Call `step` after each of its steps."""

    def __init__(self, fast: list[Tensor]) -> None:
        self.fast = fast
        self.slow = [p.detach().clone() for p in fast]
        self.count = 0

    def step(self) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def synchronize(self) -> None:
        """Set the fast weights to the slow ones."""
        torch._foreach_copy_(self.fast, self.slow)

    @contextlib.contextmanager
    def slow_weights(self) -> Iterator[None]:
        """The model with its slow weights, for evaluation; the fast ones come back after."""
        with torch.no_grad():
            kept = [p.detach().clone() for p in self.fast]
            torch._foreach_copy_(self.fast, self.slow)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self.fast, kept)

    def state_dict(self) -> dict[str, Any]:
        return {"slow": [p.clone() for p in self.slow], "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.slow, state["slow"])
        self.count = state["count"]


class Lookahead(SlowWeights):
    """Lookahead (Zhang et al. 2019, arXiv 1907.08610, algorithm 1).

    Every ``k`` steps the slow weights move by ``alpha`` towards the fast ones, and the fast ones restart from
    there. The inner optimiser's momentum is kept, the paper's default.
    """

    def __init__(self, fast: list[Tensor], k: int, alpha: float) -> None:
        super().__init__(fast)
        self.k, self.alpha = k, alpha

    def step(self) -> None:
        self.count += 1
        if self.count % self.k == 0:
            self.synchronize()

    @torch.no_grad()
    def synchronize(self) -> None:
        """Move the slow weights towards the fast ones, and set the fast ones to them."""
        torch._foreach_lerp_(self.slow, self.fast, self.alpha)
        super().synchronize()


class EMA(SlowWeights):
    """The exponential moving average of the weights (Polyak and Juditsky 1992, as it is used today).

    Of the average of ``t`` steps the next one keeps at most ``t / (10 + t)`` (much as TensorFlow's
    ``ExponentialMovingAverage``), so that a short training does not end with its first weights in it.
    """

    def __init__(self, fast: list[Tensor], decay: float) -> None:
        super().__init__(fast)
        self.decay = decay

    @torch.no_grad()
    def step(self) -> None:
        """Take the weights after a step into the average."""
        decay = min(self.decay, self.count / (10 + self.count))
        torch._foreach_lerp_(self.slow, self.fast, 1 - decay)
        self.count += 1
