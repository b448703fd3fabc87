"""Optimizers written out tensor by tensor from their papers, to hold the fast ones against."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor


class Adafactor(torch.optim.Optimizer):
    """Shazeer and Stern 2018, arXiv:1804.04235, algorithms 4 and 5, with a rate from outside.

    No first moment; decay 1 - t^-0.8; updates clipped to a root mean square of 1; decoupled
    weight decay.
    """

    def __init__(self, weights: Iterable[Tensor], lr: float, decay: float) -> None:
        super().__init__(weights, {"lr": lr})
        self.decay, self.t = decay, 0

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one update."""
        self.t += 1
        keep = 1 - self.t**-0.8
        rate = self.param_groups[0]["lr"]
        for weight in self.param_groups[0]["params"]:
            square = weight.grad**2 + 1e-30
            state = self.state[weight]
            if weight.ndim > 1:
                rows = keep * state.get("rows", 0) + (1 - keep) * square.mean(-1)
                columns = keep * state.get("columns", 0) + (1 - keep) * square.mean(-2)
                state.update(rows=rows, columns=columns)
                mean = rows.mean(-1)[..., None, None]
                estimate = rows[..., :, None] * columns[..., None, :] / mean
            else:
                state["square"] = keep * state.get("square", 0) + (1 - keep) * square
                estimate = state["square"]
            update = weight.grad / estimate.sqrt()
            update /= max(1.0, float((update**2).mean().sqrt()))
            weight.mul_(1 - rate * self.decay).sub_(rate * update)


class Prodigy(torch.optim.Optimizer):
    """Mishchenko and Defazio 2023, arXiv:2306.06101, algorithm 4: Prodigy over Adam.

    With decoupled weight decay; the estimate begins at 1e-6.
    """

    def __init__(self, weights: Iterable[Tensor], lr: float, decay: float, eps: float) -> None:
        super().__init__(weights, {"lr": lr})
        self.decay, self.eps, self.d, self.r = decay, eps, 1e-6, 0.0
        self.begin = [w.detach().clone() for w in self.param_groups[0]["params"]]
        self.m, self.v, self.s = ([torch.zeros_like(w) for w in self.begin] for _ in range(3))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one update."""
        d, rate, weights = self.d, self.param_groups[0]["lr"], self.param_groups[0]["params"]
        beta1, beta2 = 0.9, 0.999
        beta3 = math.sqrt(beta2)
        # The paper's weight (1 - beta3) of both sums cancels in their ratio.
        self.r *= beta3
        for i, weight in enumerate(weights):
            g = weight.grad
            self.m[i] = beta1 * self.m[i] + (1 - beta1) * d * g
            self.v[i] = beta2 * self.v[i] + (1 - beta2) * (d * g) ** 2
            self.s[i] = beta3 * self.s[i] + d * d * rate * g / 1e-6
            self.r += float(d * d * rate * (g * (self.begin[i] - weight)).sum() / 1e-6)
        length = sum(float(s.abs().sum()) for s in self.s)
        if length == 0:  # a rate of 0
            return
        self.d = max(d, self.r / length)
        for i, weight in enumerate(weights):
            step = self.m[i] / (self.v[i].sqrt() + self.d * self.eps)
            weight.mul_(1 - d * rate * self.decay).sub_(d * rate * step)
