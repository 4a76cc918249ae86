"""Lookahead (Zhang et al. 2019, arXiv 1907.08610, algorithm 1)."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor


class Lookahead:
    """Slow weights that follow the fast ones of any optimiser.

    Call `step` after each step of the inner optimiser. Every ``k`` of them the slow weights move
    by ``alpha`` towards the fast ones, and the fast ones restart from there. The inner optimiser's
    momentum is left alone (the paper's default, section 4 and appendix).
    """

    def __init__(self, parameters: list[Tensor], k: int, alpha: float) -> None:
        self.fast = parameters
        self.k, self.alpha = k, alpha
        self.slow = [p.detach().clone() for p in parameters]
        self.count = 0

    @torch.no_grad()
    def step(self) -> None:
        self.count += 1
        if self.count % self.k == 0:
            self.synchronize()

    @torch.no_grad()
    def synchronize(self) -> None:
        """Move the slow weights towards the fast ones, and set the fast ones to them."""
        torch._foreach_lerp_(self.slow, self.fast, self.alpha)
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

    def state_dict(self) -> dict:
        return {"slow": [p.clone() for p in self.slow], "count": self.count}

    def load_state_dict(self, state: dict) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.slow, state["slow"])
        self.count = state["count"]
