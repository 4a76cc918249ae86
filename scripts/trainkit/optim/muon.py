"""Muon for convolutions (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks").

As in Keller Jordan's airbench94_muon.py (KellerJordan/cifar10-airbench on GitHub, MIT licence): the
iteration and the rescaling of the weights are those.

PyTorch's own Muon takes matrices only; a convolution's filters are the rows of one here.
"""

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum whose update is replaced by the nearest orthogonal matrix.

    Each filter bank is also kept at the norm it would have with orthonormal rows, so that ``lr``
    is a rotation's size; BatchNorm behind it makes its scale meaningless.
    """

    def __init__(self, params: list, lr: float, momentum: float, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.dtype = dtype  # in which the orthogonal matrix is computed

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p.grad)
                momentum = state["momentum_buffer"].mul_(group["momentum"]).add_(p.grad)
                direction = p.grad.add(momentum, alpha=group["momentum"])
                p.mul_(len(p) ** 0.5 / p.norm())
                rows = direction.reshape(len(p), -1)
                p.sub_(orthogonal(rows, self.dtype).view(p.shape).mul_(group["lr"]))


def orthogonal(matrix: Tensor, dtype: torch.dtype = torch.float32, steps: int = 3) -> Tensor:
    """Roughly the orthogonal matrix nearest to ``(M, N)``: its singular values pushed towards 1.

    A quintic Newton-Schulz iteration with Jordan's coefficients. bfloat16 is enough for it, where it is
    fast: a processor without instructions for it takes seconds a step.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.to(dtype)
    x = x / (x.norm() + 1e-7)
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)
