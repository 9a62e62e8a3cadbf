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


def l2_penalty(loss: Loss, network: nn.Module) -> Tensor | float:
    """l2 / 2 times the squared norm of all kernels (Ranjan, equation 3.1), not of biases or batch norms."""
    if not loss.l2:
        return 0.0
    kernels = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    return 0.5 * loss.l2 * torch.stack([kernel.square().sum() for kernel in kernels]).sum()
