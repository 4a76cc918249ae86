"""Training steps recorded as CUDA graphs: all kernels of a step are launched by one call.

A small network's step on a GPU is hundreds of kernels that take a few microseconds each, and Python and
PyTorch need longer than that to launch one. A recorded step costs a few calls, whatever its network
("Getting Started with CUDA Graphs", NVIDIA 2019; PyTorch's manual: "CUDA semantics", "CUDA Graphs").
"""

import warnings
from collections.abc import Callable

import torch

from trainkit.datasets import Images
from trainkit.errors import CudaGraphError, StudyError, first_line

WARM_UPS = 3  # steps before the recorded one: libraries allocate and choose algorithms in them
Step = Callable[[Images], None]


class Recorder:
    """Records steps of one trainer; they share their memory, so that none may leave anything to another.

    ``generator`` is where their random numbers come from, beside PyTorch's own. Raises `StudyError` for a
    device that records nothing.
    """

    def __init__(self, generator: torch.Generator) -> None:
        if generator.device.type != "cuda":
            raise StudyError(
                "recipe.cuda_graphs: true is for GPUs, and this run is on the CPU; say auto, or false"
            )
        self.generator = generator
        self.stream, self.pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def record(self, step: Step, batch: Images) -> Step:
        """``step`` as a recording for batches of this one's shapes; it takes ``WARM_UPS`` steps beforehand.

        Recorded are kernels and addresses. So a step must read what changes from one to the next, its
        learning rate too, from tensors that stay where they are, and leave its results in such ones.
        Raises `CudaGraphError`; after it, this process can compute nothing on the GPU that one could rely on.
        """
        kept, graph = Images(batch.x.clone(), batch.y.clone()), torch.cuda.CUDAGraph()
        first: Exception | None = None
        try:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                for _ in range(WARM_UPS):
                    step(kept)
            torch.cuda.current_stream().wait_stream(self.stream)
            self._register(graph)
            with torch.cuda.graph(graph, self.pool, self.stream):
                try:
                    step(kept)
                except Exception as error:  # the end of the recording fails, too, and tells less
                    first = error
                    raise
        except Exception as error:
            said = first_line(first or error)
            raise CudaGraphError(f"a step could not be recorded as a CUDA graph: {said}") from error

        def replay(batch: Images) -> None:
            kept.x.copy_(batch.x)
            kept.y.copy_(batch.y)
            graph.replay()

        return replay

    def _register(self, graph: torch.cuda.CUDAGraph) -> None:
        """Let a replay draw new random numbers; newer versions of PyTorch see to that, and warn here."""
        if hasattr(graph, "register_generator_state"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph.register_generator_state(self.generator)
