"""Training steps recorded as CUDA graphs: all kernels of a step are launched by one call.

A small network's step on a GPU is hundreds of kernels that take a few microseconds each, and Python and
PyTorch need longer than that to launch one. A recorded step costs a few calls, whatever its network
("Getting Started with CUDA Graphs", NVIDIA 2019; PyTorch's manual: "CUDA semantics", "CUDA Graphs").
"""

from collections.abc import Callable

import torch

from trainkit.datasets import Images
from trainkit.errors import CudaGraphError, StudyError, first_line

WARM_UPS = 3  # steps before the recorded one: libraries allocate and choose algorithms in them
Step = Callable[[Images], None]


def check(device: torch.device) -> None:
    """Raise `StudyError` for a device that records nothing."""
    if device.type != "cuda":
        raise StudyError("recipe.cuda_graphs: true is for GPUs; say auto, or false")


def record(step: Step, batch: Images, generator: torch.Generator) -> Step:
    """``step`` as a recording for batches of this one's shapes; it takes ``WARM_UPS`` steps beforehand.

    Recorded are kernels and addresses. So a step must read what changes from one to the next, its learning
    rate too, from tensors that stay where they are, and leave its results in such ones.
    ``generator`` is where its random numbers come from, beside PyTorch's own.
    Raises `CudaGraphError`; after it, this process can compute nothing on the GPU that one could rely on.
    """
    kept = Images(batch.x.clone(), batch.y.clone())
    try:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                step(kept)
        torch.cuda.current_stream().wait_stream(stream)
        graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=stream):
            step(kept)
    except Exception as error:
        first: BaseException = error  # the end of a recording fails, too, and tells less
        while first.__context__:
            first = first.__context__
        raise CudaGraphError(f"a step could not be recorded as a CUDA graph: {first_line(first)}") from error

    def replay(batch: Images) -> None:
        kept.x.copy_(batch.x)
        kept.y.copy_(batch.y)
        graph.replay()

    return replay
