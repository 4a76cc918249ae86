"""Whether a training step fits into the device's memory, before it is tried, and what a run took."""

import resource
from collections.abc import Callable

import psutil
import torch
from torch import Tensor, nn

from trainkit.device import without_search
from trainkit.errors import StudyError
from trainkit.limits import limits

STATES = 4  # a gradient, at most two moments, and the warm-up's copy, beside each trainable weight


@without_search()
def check(
    device: torch.device, model: nn.Module, loss_of: Callable[[int], Tensor], batch_size: int, there: int
) -> None:
    """Refuse a batch whose step needs more bytes than ``there`` are.

    ``loss_of`` gives the training loss of so many images; what autograd keeps of a few of them
    tells what it keeps of a batch.
    """
    few, more = min(2, batch_size), min(4, batch_size)
    if few == more:
        return
    kept = {count: saved_bytes(lambda count=count: loss_of(count)) for count in (few, more)}
    per_image = (kept[more] - kept[few]) / (more - few)
    weights = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    needed = round(per_image * batch_size) + STATES * weights
    if needed > there:
        raise StudyError(
            f"a training step needs about {needed / 1e9:.1f} GB ({needed} bytes) for {batch_size} images, "
            f"and {there / 1e9:.1f} GB ({there} bytes) are free on {device.type}; "
            "lower recipe.batch_size or the size of the model"
        )


def saved_bytes(forward: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps for the backward pass of ``forward``, each storage once."""
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.is_mkldnn:
            storages[torch.ops.mkldnn.data_ptr(tensor)] = torch.ops.mkldnn._nbytes(tensor)
        else:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an operator's own output would keep its graph alive for ever

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()
    total = sum(storages.values())
    del result  # until here the graph kept every storage alive, so that no address came twice
    return total


def peak_mb(device: torch.device) -> float:
    """The most memory held: the GPU's where there is one, else the process's.

    The process's is without the pages of libraries' files, which a warm start shares: so warm and cold
    runs compare.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    files = getattr(psutil.Process().memory_info(), "shared", 0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - files / 2**20


def reset_peak(device: torch.device) -> None:
    """Forget what a GPU's memory held so far; a process's peak cannot be forgotten."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def free_bytes(device: torch.device) -> int:
    """Memory that this process can still take on its device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what is reserved may belong to recorded steps, which keep it
        return torch.cuda.mem_get_info(device)[0]
    available = psutil.virtual_memory().available
    limit = limits()["memory_mb_by_cgroup"]
    return available if limit is None else min(available, limit * 2**20 - psutil.Process().memory_info().rss)
