"""What a device can do at best: the rate that a network's operations are a fraction of."""

from statistics import median

import torch

from trainkit.device import Clock

ROUNDS, SECONDS = 5, 0.5  # at least: a GPU raises its clock only once it works


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measured GFLOP/s of a square matrix product, as large a one as takes a fraction of a second.

    A processor without instructions for ``dtype`` may be a thousand times slower at it.
    """
    size = 256
    while (seconds := _product_seconds(device, dtype, size, 1)) < 0.03 and size < 8192:
        size *= 2
    if seconds < 1:
        seconds = _product_seconds(device, dtype, size, max(ROUNDS, round(SECONDS / seconds)))
    return round(2 * size**3 / seconds / 1e9, 1)


def _product_seconds(device: torch.device, dtype: torch.dtype, size: int, rounds: int) -> float:
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(rounds + 1):
        clock = Clock(device)
        a @ b
        seconds.append(clock.lap())
    return median(seconds[1:])
