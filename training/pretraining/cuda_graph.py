"""Forward and backward of a batch as one CUDA graph: the host launches it at once, not its thousands of operations."""

import gc
from collections.abc import Callable

import torch

WARM_UP = 3  # batches done as usual first, so that cuBLAS and cuDNN have their workspaces before the recording


class GraphedPass:
    """
    Calls a function of a batch; from the fourth batch on as a recorded graph of the same operations.

    The recording freezes whatever the function draws or decides on the host, so the function must do neither. The
    gradients lie in the graph's own memory: after a call they are those of that batch, never added to earlier ones.

    Args:
        function: takes a batch (tensors by name), leaves gradients in the parameters, and returns a detached tensor.
        parameters: all that it leaves gradients in.
    """

    def __init__(self, function: Callable[[dict], torch.Tensor], parameters):
        self.function, self.parameters = function, list(parameters)
        # One stream for warm-up and recording: a gradient is added up on the stream where it was first.
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.num_calls = 0

    def __call__(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """
        Args:
            batch: as the first one, in names, shapes and dtypes.
        Returns:
            The function's tensor; a later call overwrites it.
        """
        self.num_calls += 1
        if self.num_calls <= WARM_UP:
            current = torch.cuda.current_stream()
            self.stream.wait_stream(current)
            with torch.cuda.stream(self.stream):
                output = self.function(batch)
            current.wait_stream(self.stream)
            return output
        if self.graph is None:
            self.graph = self.record(batch)
        for name, tensor in self.batch.items():
            assert (tensor.shape, tensor.dtype) == (batch[name].shape, batch[name].dtype), f"{name} changed"
            tensor.copy_(batch[name], non_blocking=True)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient  # `zero_grad` has let go of it
        return self.output

    def record(self, batch: dict[str, torch.Tensor]) -> torch.cuda.CUDAGraph:
        """Records the graph for batches of this shape, without running it."""
        self.batch = {name: tensor.clone() for name, tensor in batch.items()}
        for parameter in self.parameters:
            parameter.grad = None
        gc.collect()  # what is left of the warm-up
        graph = torch.cuda.CUDAGraph()
        # The loader's thread pins memory meanwhile, which the strict mode would take for a fault of the recording.
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            self.output = self.function(self.batch)
        self.gradients = [parameter.grad for parameter in self.parameters]
        return graph
