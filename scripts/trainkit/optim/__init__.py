"""Optimisers by name, PyTorch's own and fused where it has them, Lookahead around any."""

from typing import Any

import torch
from torch import Tensor, nn

from trainkit.optim.muon import Muon
from trainkit.optim.slow import EMA, Lookahead, SlowWeights
from trainkit.spec import Optimizer, Recipe

REST_MOMENTUM = 0.85  # of what Muon leaves to SGD, as in airbench94


def build(
    options: Optimizer, model: nn.Module, dtype: torch.dtype = torch.float32
) -> "torch.optim.Optimizer | Together":
    """The optimiser over the trainable parameters; weight decay on weight matrices only.

    Biases and the scales of norms are one-dimensional; leaving them out follows Jia et al. 2018
    (arXiv 1807.11205). Each group's ``factor`` multiplies the learning rate of the moment.
    ``dtype`` is that of Muon's matrix products.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    matrices, vectors = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    if options.name == "muon":
        filters = [p for p in matrices if p.ndim == 4]
        rest = groups([p for p in matrices if p.ndim != 4], vectors, options, options.matrix_factor)
        muon = Muon([{"params": filters, "factor": 1.0}], options.lr, options.momentum, dtype)
        return Together(muon, torch.optim.SGD(rest, options.lr, REST_MOMENTUM, nesterov=True, fused=True))
    both = groups(matrices, vectors, options)
    if options.name == "sgd":
        nesterov = options.nesterov and options.momentum > 0
        return torch.optim.SGD(both, options.lr, momentum=options.momentum, nesterov=nesterov, fused=True)
    if options.name == "adamw":
        return torch.optim.AdamW(both, options.lr, fused=True)
    return torch.optim.RMSprop(both, options.lr, alpha=0.9)


def groups(matrices: list[Tensor], vectors: list[Tensor], options: Optimizer, factor: float = 1.0) -> list:
    return [
        {"params": matrices, "weight_decay": options.weight_decay, "factor": factor},
        {"params": vectors, "weight_decay": 0.0, "factor": options.bias_factor},
    ]


class Together:
    """Several optimisers, each with its own parameters, as one."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers
        self.param_groups = [group for optimizer in optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)


@torch.no_grad()
def rehearse(optimizer: torch.optim.Optimizer | Together) -> None:
    """Take a step with the gradients that are there, undo it, and drop them: the next one is as the first."""
    before = [p.clone() for _, p in _parameters(optimizer)]
    optimizer.step()
    for (each, p), value in zip(_parameters(optimizer), before, strict=True):
        p.copy_(value)
        each.state.pop(p, None)
    optimizer.zero_grad(set_to_none=True)


def state(optimizer: torch.optim.Optimizer | Together) -> list[dict[str, Any]]:
    """What the optimiser remembers of each parameter, in the order of its groups."""
    return [dict(each.state.get(p, {})) for each, p in _parameters(optimizer)]


def load_state(optimizer: torch.optim.Optimizer | Together, states: list[dict[str, Any]]) -> None:
    """Give an optimiser of the same kind over the same parameters a `state` back."""
    for (each, p), remembered in zip(_parameters(optimizer), states, strict=True):
        if remembered:
            each.state[p] = remembered


def _parameters(optimizer: torch.optim.Optimizer | Together) -> list[tuple[torch.optim.Optimizer, Tensor]]:
    members = optimizer.optimizers if isinstance(optimizer, Together) else (optimizer,)
    return [(each, p) for each in members for group in each.param_groups for p in group["params"]]


def slow(recipe: Recipe, optimizer: torch.optim.Optimizer | Together) -> SlowWeights | None:
    """What follows the weights more slowly, if the recipe asks for it."""
    parameters, lookahead = [p for _, p in _parameters(optimizer)], recipe.optimizer.lookahead
    if recipe.ema:
        return EMA(parameters, recipe.ema.decay)
    return Lookahead(parameters, lookahead.k, lookahead.alpha) if lookahead else None
