"""Page-locked host memory: what copies to and from a GPU need to run beside its work.

A host can refuse it (``ulimit -l``, a container's limit, memory in pieces), and CUDA then says
"out of memory", as of a full GPU. So a refusal is taken here, and is no error: a copy from or to
plain memory gives the same numbers, and only waits for the device.
"""

import torch
from torch import Tensor

from sdcore.text import clean_line


class PageLocks:
    """Page-locks tensors for as long as the host lets us; safe from several threads.

    Attributes:
        refusal: What CUDA said when it first failed; None while it works.
    """

    def __init__(self) -> None:
        self.refusal: str | None = None

    def locked(self, tensor: Tensor) -> Tensor:
        """Return a copy of a CPU tensor in page-locked memory; itself where there is none."""
        if self.refusal is not None:
            return tensor  # a try would take milliseconds of each step
        try:
            return tensor.pin_memory()
        except RuntimeError as error:  # an earlier kernel's comes again at the next call
            self.refusal = clean_line(str(error).split("\n")[0], 200)
            return tensor


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what was asked of it; a CPU has, and CUDA is not touched."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
