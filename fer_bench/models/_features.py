"""The networks on ten hand-crafted numbers a face. Imported inside `build` functions only, for it imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_bench.features import PARTS, lpq_phog
from fer_bench.models._bdr import BimodalRemoval
from fer_bench.models._estimators import Grown

# Of each descriptor.
COMPONENTS = 5
FEATURES = COMPONENTS * len(PARTS)
DESCRIPTOR = max(part.stop for part in PARTS.values())
# Of a row's histogram.
BINS = 20

Float64Array = npt.NDArray[np.float64]


class Features(nn.Module):
    """(N, 10) features, NaN where one is missing, or (N, 1, S, S) gray faces in 0..1 -> (N, 10), none missing.

    Of a face they are the first principal components of its LPQ and its PHOG. Before `fit` they are zero.

    Attributes:
        axes, centre: (10, 936) and (936,), the components and the mean that is subtracted first.
        fill: (10,) what stands in for a missing feature.
        mean, std: (10,) by which features are normalised; 0 and 1 where they are not.
    """

    axes: Tensor
    centre: Tensor
    fill: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("axes", torch.zeros(FEATURES, DESCRIPTOR))
        self.register_buffer("centre", torch.zeros(DESCRIPTOR))
        for name in ("fill", "mean"):
            self.register_buffer(name, torch.zeros(FEATURES))
        self.register_buffer("std", torch.ones(FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            x = (_descriptors(x) - self.centre) @ self.axes.T
        return (torch.where(x.isnan(), self.fill, x) - self.mean) / self.std

    def fit(self, x: Tensor, *, normalised: bool) -> int:
        """Set all by the training part; the number of its features that were missing."""
        if x.ndim == 4:
            descriptors = _descriptors(x).double().numpy()
            self.centre = torch.from_numpy(descriptors.mean(axis=0)).float()
            self.axes = torch.from_numpy(_axes(descriptors)).float()
            x = (_descriptors(x) - self.centre) @ self.axes.T
        self.fill = x.nanmean(dim=0).nan_to_num()  # 0 for a feature that is missing everywhere
        missing = int(x.isnan().sum())
        if normalised:
            filled = torch.where(x.isnan(), self.fill, x)
            self.mean, self.std = filled.mean(dim=0), filled.std(dim=0, correction=0)
            self.std[self.std == 0] = 1
        return missing


def _descriptors(faces: Tensor) -> Tensor:
    """LPQ and PHOG, (N, 1, S, S) in 0..1 -> (N, 936) float32."""
    if faces.is_meta:  # where only shapes count
        return faces.new_empty(len(faces), DESCRIPTOR)
    levels = (faces[:, 0] * 255).round().to(torch.uint8).cpu().numpy()
    return torch.from_numpy(lpq_phog(levels)).to(faces.device)


def _axes(descriptors: Float64Array) -> Float64Array:
    """The first principal components of each part, (10, 936); zero beyond what so few descriptors determine."""
    axes = np.zeros((FEATURES, DESCRIPTOR))
    for number, part in enumerate(PARTS.values()):
        values = descriptors[:, part] - descriptors[:, part].mean(axis=0)
        _, lengths, found = np.linalg.svd(values, full_matrices=False)
        found = found[lengths > 1e-9][:COMPONENTS]
        # A component's sign is arbitrary.
        signs = np.sign(found[np.arange(len(found)), np.abs(found).argmax(axis=1)])
        axes[number * COMPONENTS : number * COMPONENTS + len(found), part] = found * signs[:, None]
    return axes


class LengMlp(nn.Module):
    """Ten features or a face, as `Features` takes them -> (N, num_classes) logits."""

    def __init__(self, num_classes: int, hidden: int) -> None:
        super().__init__()
        self.features = Features()
        self.layers = nn.Sequential(nn.Linear(FEATURES, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(self.features(x))
        return logits

    def fit(
        self,
        images: Tensor,
        targets: Tensor,
        *,
        normalised: bool,
        optimizer: Literal["adam", "sgd"],
        lr: float,
        epochs: int,
        removal: Mapping[str, Any] | None = None,
    ) -> list[dict[str, float]]:
        """Train on all samples at once, an epoch a step.

        Args:
            removal: the fields of the `BimodalRemoval` that leaves samples out; it may end the training early.

        Returns:
            A row for each 10th epoch up to 100 and each 100th after that, for each round of removal and the last
            epoch; see `_row`. The last one also has `imputed`, the number of missing features.
        """
        missing = self.features.fit(images, normalised=normalised)
        x = self.features(images)
        kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
        step = kind(self.layers.parameters(), lr=lr)
        rule = None if removal is None else BimodalRemoval(**removal)
        history: list[dict[str, float]] = []
        variances: list[float] = []  # at the epochs at which there could be a round
        over = False
        for epoch in range(1, epochs + 1):
            step.zero_grad()
            functional.cross_entropy(self.layers(x), targets).backward()  # type: ignore[no-untyped-call]
            step.step()
            due = rule is not None and rule.is_due(epoch)
            reported = epoch % (10 if epoch <= 100 else 100) == 0 or epoch == epochs
            if not due and not reported:
                continue
            with torch.no_grad():
                logits = self.layers(x)
            errors = functional.cross_entropy(logits, targets, reduction="none").double().numpy()
            if not np.isfinite(errors).all():
                raise ValueError(f"the training diverged by epoch {epoch}")
            kept = np.ones(len(x), dtype=bool)
            if due and rule is not None:
                variances.append(float(errors.var()))
                over = rule.is_over(variances)
                if rule.has_begun(variances):
                    reported = True
                    kept = kept if over else rule.kept(errors)
            if reported:
                accuracy = float((logits.argmax(dim=1) == targets).double().mean())
                history.append(_row(epoch, errors, accuracy, kept))
            if over:
                break
            x, targets = x[torch.from_numpy(kept)], targets[torch.from_numpy(kept)]
        history[-1]["imputed"] = float(missing)
        return history


def _row(epoch: int, errors: Float64Array, accuracy: float, kept: npt.NDArray[np.bool_]) -> dict[str, float]:
    """What a history says of an epoch.

    `train_loss`, `train_accuracy`, `error_variance` and the histogram of the errors (`errors_00` to `errors_19`, the
    counts in 20 equal bins from 0 to `errors_max`) are of the samples that were trained on up to here; `removed`
    are left out from here on, and `kept` remain.
    """
    largest = float(errors.max())
    counts, _ = np.histogram(errors, bins=BINS, range=(0, max(largest, np.finfo(np.float64).tiny)))
    return {
        "epoch": float(epoch),
        "train_loss": float(errors.mean()),
        "train_accuracy": accuracy,
        "error_variance": float(errors.var()),
        "kept": float(kept.sum()),
        "removed": float((~kept).sum()),
        "errors_max": largest,
        **{f"errors_{number:02d}": float(count) for number, count in enumerate(counts)},
    }


class LengSvm(Grown):
    """Ten features or a face, as `Features` takes them -> (N, num_classes) logits of a kernel machine.

    One against one, with a Gaussian kernel. A logit is the number of duels that a class wins, plus at most a third
    for how clearly, so the most probable class is scikit-learn's (`break_ties=True`); the probabilities are no more
    than its softmax.

    Attributes:
        vectors: (V, 10), the support vectors.
        weight, bias: (P, V) and (P,), for each pair of classes; positive is the first one's.
        duels: (P, num_classes) 1 for the first class of a pair and -1 for the second; 0 where one was not met.
        prior: (num_classes,) 0, or -inf for a class that was not met.
        gamma: the kernel's, a number.
    """

    GROWN = ("vectors", "weight")
    vectors: Tensor
    weight: Tensor
    bias: Tensor
    duels: Tensor
    prior: Tensor
    gamma: Tensor

    def __init__(self, num_classes: int, vectors: int) -> None:
        super().__init__()
        self.features = Features()
        pairs = num_classes * (num_classes - 1) // 2
        self.register_buffer("vectors", torch.zeros(vectors, FEATURES))
        self.register_buffer("weight", torch.zeros(pairs, vectors))
        self.register_buffer("bias", torch.zeros(pairs))
        self.register_buffer("duels", torch.zeros(pairs, num_classes))
        self.register_buffer("prior", torch.zeros(num_classes))
        self.register_buffer("gamma", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        distances = torch.cdist(self.features(x), self.vectors, compute_mode="donot_use_mm_for_euclid_dist")
        # A pair's weights sum to zero, so the kernel may be taken less 1; features of histograms lie so close that
        # float32 would lose what is left of it.
        margins = torch.expm1(-self.gamma * distances.square()) @ self.weight.T + self.bias
        won = torch.where(margins >= 0, 1.0, -1.0) @ self.duels  # duels won less duels lost
        clearly = margins @ self.duels
        return (won + self.duels.abs().sum(dim=0)) / 2 + clearly / (3 * (clearly.abs() + 1)) + self.prior

    def fit(self, images: Tensor, targets: Tensor, *, C: float, gamma: float) -> None:  # noqa: N803 (its own name)
        """Set the weights by scikit-learn's `SVC` with these options."""
        from sklearn.svm import SVC

        self.features.fit(images, normalised=False)
        x = self.features(images).double().numpy()
        model = SVC(C=C, gamma=gamma).fit(x, targets.numpy())
        classes: list[int] = model.classes_.tolist()
        sign = -1 if len(classes) == 2 else 1  # of two, positive is the second one's
        ends = np.cumsum(model.n_support_)
        own = [slice(end - count, end) for end, count in zip(ends, model.n_support_, strict=True)]
        num_classes = len(self.prior)
        weight = np.zeros((len(self.bias), len(model.support_)))
        self.bias.zero_()
        self.duels.zero_()
        self.prior.fill_(-torch.inf)
        self.prior[classes] = 0
        pairs = {pair: row for row, pair in enumerate(combinations(range(num_classes), 2))}
        duel = 0
        for i, first in enumerate(classes):
            for j, second in enumerate(classes[i + 1 :], start=i + 1):
                row = pairs[first, second]
                weight[row, own[i]] = sign * model.dual_coef_[j - 1, own[i]]
                weight[row, own[j]] = sign * model.dual_coef_[i, own[j]]
                self.bias[row] = float(sign * model.intercept_[duel])
                self.duels[row, first], self.duels[row, second] = 1, -1
                duel += 1
        self.weight, self.vectors = torch.from_numpy(weight).float(), torch.from_numpy(x[model.support_]).float()
        self.gamma.fill_(gamma)
