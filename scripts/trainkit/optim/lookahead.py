"""Lookahead (Zhang et al. 2019, arXiv 1907.08610, algorithm 1)."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor


class Lookahead:
    """Slow weights that follow the fast ones of any optimiser.

    Call `step` after each step of the inner optimiser. Every ``k`` of them the slow weights move
    by ``alpha`` towards the fast ones, and the fast ones restart from there. The inner optimiser's
    momentum is kept (the paper's default), set to zero, or pulled back: then it has slow values of its
    own, which move by ``alpha`` too (appendix B.1). ``momenta`` gives its buffers of the moment.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        k: int,
        alpha: float,
        momentum: str = "keep",
        momenta: Callable[[], list[Tensor]] = list,
    ) -> None:
        self.fast = parameters
        self.k, self.alpha = k, alpha
        self.slow = [p.detach().clone() for p in parameters]
        self.count = 0
        self.momentum, self.momenta = momentum, momenta
        self.slow_momenta: list[Tensor] = []

    @torch.no_grad()
    def step(self, z: float = 0.0) -> None:
        self.count += 1
        if self.count % self.k == 0:
            self.synchronize()

    @torch.no_grad()
    def synchronize(self) -> None:
        """Move the slow weights towards the fast ones, and set the fast ones to them."""
        torch._foreach_lerp_(self.slow, self.fast, self.alpha)
        torch._foreach_copy_(self.fast, self.slow)
        momenta = self.momenta() if self.momentum != "keep" else []
        if self.momentum == "reset" and momenta:
            torch._foreach_zero_(momenta)
        elif momenta:
            # Copies: an alias of the live buffers would move along with them, and pull nothing back.
            self.slow_momenta = self.slow_momenta or [torch.zeros_like(m) for m in momenta]
            torch._foreach_lerp_(self.slow_momenta, momenta, self.alpha)
            torch._foreach_copy_(momenta, self.slow_momenta)

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
        slow, momenta = ([p.clone() for p in each] for each in (self.slow, self.slow_momenta))
        return {"slow": slow, "momenta": momenta, "count": self.count}

    def load_state_dict(self, state: dict) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.slow, state["slow"])
        self.slow_momenta = [m.clone() for m in state["momenta"]]
        self.count = state["count"]
