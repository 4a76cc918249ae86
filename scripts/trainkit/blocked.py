"""Networks whose feature maps stay in oneDNN's own layout: blocks of 8 or 16 channels.

oneDNN convolves contiguous maps by copying them into blocks and back, for each convolution and again for both
of its gradients; channels_last ones without copies. Blocked tensors (`torch.Tensor.to_mkldnn`) need none, and
oneDNN also does what stands between: BatchNorm (affine, of maps), ReLU, GELU, max-pooling and addition.
Whatever else a network does needs `dense` tensors. Which is fastest, the hardware capture measures.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

DENSE_LAYERS = (nn.AdaptiveAvgPool2d, nn.Dropout, nn.Flatten)  # at which a network leaves the blocks


class Conv2d(nn.Conv2d):
    """A convolution that gives blocked tensors, of dense or blocked ones; the same function."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        places = (self.stride, self.padding, self.dilation, False, (0, 0), self.groups)
        # Unlike conv2d, autocast leaves this alone: oneDNN casts float32 weights as it puts them into blocks.
        return torch.convolution(blocks(x), weight, bias, *places)


def blocks(x: Tensor) -> Tensor:
    """``x`` as a blocked tensor, in the type that autocast computes in."""
    if x.is_mkldnn:
        return x
    lower = torch.is_autocast_enabled("cpu")
    return x.to(torch.get_autocast_dtype("cpu") if lower else x.dtype).to_mkldnn()


def dense(x: Tensor) -> Tensor:
    return x.to_dense() if x.is_mkldnn else x


def through(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function(x)``, laid out as ``x`` is, by a function that takes dense tensors only."""
    return function(x.to_dense()).to_mkldnn() if x.is_mkldnn else function(x)


def available(dtype: torch.dtype) -> bool:
    """Whether this CPU and this PyTorch can train so, in numbers of this type."""
    return torch.backends.mkldnn.is_available() and (
        dtype != torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def use(model: nn.Module) -> None:
    """Let a network whose file says ``BLOCKED`` compute in blocks, on a CPU."""
    for module in model.modules():
        if type(module) is nn.Conv2d and module.padding_mode == "zeros" and isinstance(module.padding, tuple):
            module.__class__ = Conv2d
        elif isinstance(module, (*DENSE_LAYERS, nn.Conv2d)):
            module.register_forward_pre_hook(lambda _, inputs: dense(inputs[0]))
