"""A training step recorded once as a CUDA graph and replayed: small networks wait for kernel launches, not for kernels.

The step of a network of a dozen layers is some 150 kernels of microseconds each, which Python launches in several
times the time that they take.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fer_bench.errors import FerBenchError

# Steps before recording: libraries choose and allocate in their first ones what a graph must find in place.
WARM_UP = 3

Update = Callable[..., tuple[Tensor, Tensor]]


class Replayed:
    """An update of fixed tensors, recorded at the shapes of its first call; calls of other shapes run as they are."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._given: tuple[Tensor, ...] = ()
        self._answer: tuple[Tensor, Tensor] | None = None
        self._graph = torch.cuda.CUDAGraph()
        self._calls = 0

    def __call__(self, update: Update, *given: Tensor) -> tuple[Tensor, Tensor]:
        """What the update answers; of a replayed one, until the next call.

        Args:
            update: the same in each call: tensors in, tensors out; all that it reads and writes besides keeps its place
                in memory, and it asks nothing of the device that the processor would have to wait for.
        """
        if not self._given:
            self._given = tuple(torch.empty_like(tensor) for tensor in given)
        if [tensor.shape for tensor in given] != [tensor.shape for tensor in self._given]:
            return self._aside(update, given)
        self._calls += 1
        if self._calls <= WARM_UP:
            return self._aside(update, given)
        for own, tensor in zip(self._given, given, strict=True):
            own.copy_(tensor)
        if self._answer is None:
            try:
                # Other threads may use the device meanwhile.
                with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                    self._answer = update(*self._given)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                problem = str(error.__context__ or error).partition("\n")[0]
                raise FerBenchError(
                    f"a training step can't be recorded as a CUDA graph ({problem}): a network that reads its numbers "
                    "in its forward pass (`.item()`, `if tensor`) needs `replayed=False` in its spec, or --device cpu"
                ) from error
        self._graph.replay()
        return self._answer

    def _aside(self, update: Update, given: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The update on the stream that it is recorded on."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            answer = update(*given)
        current.wait_stream(self._stream)
        return answer
