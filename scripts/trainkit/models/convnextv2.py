"""ConvNeXt V2 (Woo et al. 2023, arXiv 2301.00808) for 32x32 images, from random weights.

Block and names follow the paper's section 3.2 and appendix. For small images the stem's patch is
1 or 2 pixels (a patch of 4, the paper's, leaves 8x8 positions), and there are three stages.
"""

import torch
from torch import Tensor, nn

from trainkit.spec import ConvNeXtV2

FAMILY = "convnext"


class GlobalResponseNorm(nn.Module):
    """GRN (equations 1 to 3): each channel is scaled by its share of the image's responses.

    ``(N, H, W, C)`` in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=torch.float32)
        share = (response / (response.mean(-1, keepdim=True) + 1e-6)).to(x.dtype)
        return torch.addcmul(x, x, share * self.gamma.to(x.dtype)) + self.beta.to(x.dtype)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, drops a block's branch for some images."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        kept = torch.rand((len(x), 1, 1, 1), device=x.device) >= self.rate
        return x * kept.to(x.dtype) / (1 - self.rate)


class LayerNorm(nn.LayerNorm):
    """LayerNorm over the channels of ``(N, C, H, W)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Depthwise convolution, LayerNorm, 1x1 up, GELU, GRN, 1x1 down, shortcut (figure 5)."""

    def __init__(self, channels: int, kernel: int, drop_path: float, grn: bool) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.grn = GlobalResponseNorm(4 * channels) if grn else nn.Identity()
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm(self.dwconv(x).permute(0, 2, 3, 1))  # (N, H, W, C): 1x1 is a linear layer
        out = self.pwconv2(self.grn(self.act(self.pwconv1(out))))
        return x + self.drop_path(out.permute(0, 3, 1, 2))


def build(options: ConvNeXtV2, shape: tuple[int, int, int], classes: int) -> nn.Module:
    widths, total = options.widths, sum(options.depths)
    rates = iter(torch.linspace(0, options.drop_path, total).tolist())
    stem = nn.Conv2d(shape[2], widths[0], max(3, options.patch), options.patch, int(options.patch < 3))
    layers: list[nn.Module] = [stem, LayerNorm(widths[0], eps=1e-6)]
    for stage, (depth, width) in enumerate(zip(options.depths, widths, strict=True)):
        if stage:
            layers += [
                LayerNorm(widths[stage - 1], eps=1e-6),
                nn.Conv2d(widths[stage - 1], width, kernel_size=2, stride=2),
            ]
        layers += [Block(width, options.kernel, next(rates), options.grn) for _ in range(depth)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(widths[-1], eps=1e-6)]
    model = nn.Sequential(*layers, nn.Linear(widths[-1], classes))
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return model
