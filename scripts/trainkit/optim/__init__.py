"""Optimisers by name, PyTorch's own and fused where it has them, Lookahead around any."""

import torch
from torch import nn

from trainkit.optim.lookahead import Lookahead
from trainkit.spec import Optimizer


def build(options: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over the trainable parameters; weight decay on weight matrices only.

    Biases and the scales of norms are one-dimensional; leaving them out follows Jia et al. 2018
    (arXiv 1807.11205).
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if options.name == "sgd":
        nesterov = options.nesterov and options.momentum > 0
        return torch.optim.SGD(groups, options.lr, momentum=options.momentum, nesterov=nesterov, fused=True)
    if options.name == "adamw":
        return torch.optim.AdamW(groups, options.lr, fused=True)
    return torch.optim.RMSprop(groups, options.lr, alpha=0.9)


def lookahead(options: Optimizer, optimizer: torch.optim.Optimizer) -> Lookahead | None:
    """Lookahead over ``optimizer``'s parameters, if the options ask for it."""
    if options.lookahead is None:
        return None
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return Lookahead(parameters, options.lookahead.k, options.lookahead.alpha)
