"""Optimisers by name, PyTorch's own and fused where it has them, Lookahead around any."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from trainkit.optim.muon import Muon
from trainkit.optim.slow import EMA, Lookahead, SlowWeights
from trainkit.spec import Optimizer, Recipe

REST_MOMENTUM = 0.85  # of what Muon leaves to SGD, as in airbench94


def build(
    options: Optimizer, model: nn.Module, dtype: torch.dtype = torch.float32, capturable: bool = False
) -> "torch.optim.Optimizer | Together":
    """The optimiser over the trainable parameters; weight decay on weight matrices only.

    Biases and the scales of norms are one-dimensional; leaving them out follows Jia et al. 2018
    (arXiv 1807.11205). Each group's ``factor`` multiplies the learning rate of the moment.
    ``dtype`` is that of Muon's matrix products. A ``capturable`` one can be recorded as a CUDA graph: its
    learning rates are tensors.
    """
    optimizer = _build(options, model, dtype, capturable)
    if capturable:
        # A warm-up is without a graph.
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        device = next(model.parameters()).device
        for group in optimizer.param_groups:  # one each, for their factors differ
            group["lr"] = torch.tensor(float(group["lr"]), device=device)
    return optimizer


def _build(
    options: Optimizer, model: nn.Module, dtype: torch.dtype, capturable: bool
) -> "torch.optim.Optimizer | Together":
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
        return torch.optim.AdamW(both, options.lr, fused=True, capturable=capturable)
    foreach = True if capturable else None  # that way takes a tensor as its rate
    return torch.optim.RMSprop(both, options.lr, options.alpha, foreach=foreach, capturable=capturable)


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


def set_rate(optimizer: torch.optim.Optimizer | Together, lr: float) -> None:
    """Set the learning rate of the moment, in each group times its ``factor``."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr * group["factor"])
        else:
            group["lr"] = lr * group["factor"]


@torch.no_grad()
def forget(optimizer: torch.optim.Optimizer | Together) -> None:
    """Let the next step be as the first: no gradients, and a memory of zeros, which stays where it is."""
    optimizer.zero_grad(set_to_none=True)
    for remembered in state(optimizer):
        for value in remembered.values():
            value.zero_()


def state(optimizer: torch.optim.Optimizer | Together) -> list[dict[str, Any]]:
    """What the optimiser remembers of each parameter, in the order of its groups."""
    return [dict(each.state.get(p, {})) for each, p in _parameters(optimizer)]


@torch.no_grad()
def load_state(optimizer: torch.optim.Optimizer | Together, states: list[dict[str, Any]]) -> None:
    """Give an optimiser of the same kind over the same parameters a `state` back."""
    for (each, p), remembered in zip(_parameters(optimizer), states, strict=True):
        for key, value in remembered.items():
            if key in each.state[p]:
                each.state[p][key].copy_(value)
            else:
                each.state[p][key] = value


def _parameters(optimizer: torch.optim.Optimizer | Together) -> list[tuple[torch.optim.Optimizer, Tensor]]:
    members = optimizer.optimizers if isinstance(optimizer, Together) else (optimizer,)
    return [(each, p) for each in members for group in each.param_groups for p in group["params"]]


def slow(recipe: Recipe, optimizer: torch.optim.Optimizer | Together) -> SlowWeights | None:
    """What follows the weights more slowly, if the recipe asks for it."""
    parameters, lookahead = [p for _, p in _parameters(optimizer)], recipe.optimizer.lookahead
    if recipe.ema:
        return EMA(parameters, recipe.ema.decay)
    return Lookahead(parameters, lookahead.k, lookahead.alpha) if lookahead else None
