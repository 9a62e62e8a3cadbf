"""Training losses: logits (N, C) and labels (N,), or distributions (N, C) for cross-entropy, in, a scalar out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_bench.specs import Loss


def l2_svm(logits: Tensor, targets: Tensor, margin: float = 1.0) -> Tensor:
    """The L2 multi-class SVM: the mean over samples of 1/2 sum_{j != y} max(0, s_j - s_y + margin)^2.

    Ranjan, section 3.4.2, which sums over the samples; the mean keeps the learning rate independent of
    the batch size.
    """
    scores = logits.float()
    correct = scores.gather(1, targets[:, None])
    violation = (scores - correct + margin).clamp(min=0).square()
    others = torch.ones_like(violation).scatter_(1, targets[:, None], 0)
    return 0.5 * (violation * others).sum(dim=1).mean()


def classification_loss(loss: Loss, logits: Tensor, targets: Tensor) -> Tensor:
    """The data term of a recipe's loss."""
    if loss.name == "l2_svm":
        return l2_svm(logits, targets, loss.margin)
    return F.cross_entropy(logits.float(), targets, label_smoothing=loss.smoothing)


@torch.no_grad()
def add_l2_gradient(loss: Loss, network: nn.Module) -> None:
    """Add the gradient of l2 / 2 times the squared norm of all kernels (Ranjan, equation 3.1) to theirs.

    Biases and batch norms have no such term. The gradient is the kernel times l2; autograd would find the same in
    several passes over millions of weights. Kernels without a gradient are left alone.
    """
    if not loss.l2:
        return
    for parameter in network.parameters():
        if parameter.ndim > 1 and parameter.grad is not None:
            parameter.grad.add_(parameter, alpha=loss.l2)
