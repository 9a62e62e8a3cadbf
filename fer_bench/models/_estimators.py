"""The networks that are fitted in one go, each with its `fit`. Imported inside `build` functions only, for it imports
torch.

They work on flat pixels. A class that the training images do not show has a prior of zero: its logit is -inf.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

PIXELS = 48 * 48
# The distances of a batch to this many faces are computed at a time: 2304 x 4096 float32 are 38 MB.
CHUNK = 4096
# The nearest face's class gets 99.97%; how sure it is the method does not say.
CERTAIN = 10.0

Float64Array = npt.NDArray[np.float64]


class LinearClassifier(nn.Module):
    """(N, 1, 48, 48) -> (N, num_classes) logits, linear in the pixels.

    Args:
        kind: lda: linear discriminant analysis; softmax: multinomial logistic regression.
    """

    def __init__(self, num_classes: int, kind: Literal["lda", "softmax"]) -> None:
        super().__init__()
        self.layer = nn.Linear(PIXELS, num_classes)
        self._kind = kind

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1))
        return logits

    def fit(self, images: Tensor, targets: Tensor, **options: Any) -> None:
        """Set the weights by scikit-learn's estimator with these options, on pixels standardised one by one."""
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.linear_model import LogisticRegression

        pixels = images.flatten(1).numpy()
        mean, std = pixels.mean(axis=0, dtype=np.float64), pixels.std(axis=0, dtype=np.float64)
        std[std == 0] = 1
        kind = LinearDiscriminantAnalysis if self._kind == "lda" else LogisticRegression
        model = kind(**options).fit(((pixels - mean) / std).astype(np.float32), targets.numpy())
        weight, bias = model.coef_ / std, model.intercept_ - (model.coef_ * (mean / std)).sum(axis=1)
        if len(model.classes_) == 2:  # it states the second class against the first
            weight, bias = np.stack([0 * weight[0], weight[0]]), np.append(0, bias)
        _set_rows(self.layer, model.classes_, weight, bias)


class Qda(nn.Module):
    """(N, 1, 48, 48) -> (N, num_classes) logits: a Gaussian a class on whitened principal components."""

    def __init__(self, num_classes: int, components: int) -> None:
        super().__init__()
        self.project = nn.Linear(PIXELS, components)
        # Each class's own whitening, one under the other: the squared length of what it gives is the distance.
        self.whiten = nn.Linear(components, num_classes * components)
        self.offset = nn.Parameter(torch.zeros(num_classes))

    def forward(self, images: Tensor) -> Tensor:
        whitened: Tensor = self.whiten(self.project(images.flatten(1)))
        return self.offset - whitened.reshape(-1, len(self.offset), self.project.out_features).square().sum(dim=2) / 2

    def fit(self, images: Tensor, targets: Tensor, *, reg_param: float) -> None:
        """Set the weights; a class's covariance is `(1 - reg_param) S + reg_param I`, I being all images' own."""
        from sklearn.decomposition import PCA

        components = self.project.out_features
        used = min(components, len(images) - 1)  # the rest stays zero
        # Both exact; the one is the faster for many images, the other for few.
        pca = PCA(used, whiten=True, svd_solver="covariance_eigh" if len(images) > PIXELS else "full")
        points = pca.fit_transform(images.flatten(1).numpy().astype(np.float64))
        project = pca.components_ / np.sqrt(pca.explained_variance_)[:, None]
        labels = targets.numpy()
        with torch.no_grad():
            for value in self.parameters():
                value.zero_()
            self.offset.fill_(-torch.inf)
            self.project.weight[:used] = _tensor(project)
            self.project.bias[:used] = _tensor(-project @ pca.mean_)
            for label in np.unique(labels):
                own = points[labels == label]
                mean = own.mean(axis=0)
                covariance = (own - mean).T @ (own - mean) / len(own)
                variances, axes = np.linalg.eigh((1 - reg_param) * covariance + reg_param * np.eye(used))
                whiten = axes.T / np.sqrt(variances)[:, None]
                rows = slice(label * components, label * components + used)
                self.whiten.weight[rows, :used] = _tensor(whiten)
                self.whiten.bias[rows] = _tensor(-whiten @ mean)
                self.offset[label] = float(np.log(len(own) / len(points)) - np.log(variances).sum() / 2)


class Grown(nn.Module):
    """A module whose buffers named in `GROWN` are as long as `fit` makes them, also when a state is loaded."""

    GROWN: ClassVar[tuple[str, ...]]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in self.GROWN:
            if (value := state_dict.get(prefix + name)) is not None:
                own = getattr(self, name)
                setattr(self, name, torch.empty_like(value, dtype=own.dtype, device=own.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


class NearestNeighbour(Grown):
    """(N, 1, 48, 48) in 0..1 -> (N, num_classes) logits: `CERTAIN` for the class of the nearest face, else 0.

    The distance is Euclidean, of equally near faces the first counts. Untrained it holds `faces` gray ones, so
    that its cost can be measured.

    Attributes:
        faces: (faces, 2304) int8 gray levels less 128.
        squares: (faces,) float32, the squared length of each.
        labels: (faces,) int64.
    """

    GROWN = ("faces", "squares", "labels")
    faces: Tensor
    squares: Tensor
    labels: Tensor

    def __init__(self, num_classes: int, faces: int) -> None:
        super().__init__()
        self._num_classes = num_classes
        self.register_buffer("faces", torch.zeros(faces, PIXELS, dtype=torch.int8))
        self.register_buffer("squares", torch.zeros(faces))
        self.register_buffer("labels", torch.zeros(faces, dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        # Gray levels around zero are whole numbers, and so are sums of their products, which float32 holds exactly up
        # to 2^24, as most pictures' are: equal faces are equally far in any order of summing.
        levels = _levels(images)
        nearest = torch.full((len(images),), torch.inf, device=images.device)
        label = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        for start in range(0, len(self.faces), CHUNK):
            some = slice(start, start + CHUNK)
            # The squared distance less the picture's own square, which is the same for all faces.
            distance, index = (self.squares[some] - 2 * levels @ self.faces[some].float().T).min(dim=1)
            nearer = distance < nearest
            nearest = torch.where(nearer, distance, nearest)
            label = torch.where(nearer, self.labels[start + index], label)
        return CERTAIN * torch.eye(self._num_classes, device=images.device)[label]

    def fit(self, images: Tensor, targets: Tensor) -> None:
        """Keep the images."""
        levels = _levels(images)
        self.faces, self.squares, self.labels = levels.to(torch.int8), levels.square().sum(dim=1), targets


class ForestOnFeatures(Grown):
    """(N, 1, S, S) -> (N, num_classes) log-probabilities: a random forest on what a trained network sees.

    Args:
        body: (N, 1, S, S) -> (N, F), a network without its last layer; `start_from` sets its weights.

    Attributes:
        roots: (trees,) int64, where each tree starts in the lists of nodes.
        feature: (nodes,) int64, which of the F a node asks for; -1 in a leaf.
        threshold: (nodes,) float32; at most that much goes left.
        left, right: (nodes,) int64, the next node.
        shares: (nodes, num_classes) float32, the classes' shares of the training samples in a node.
    """

    GROWN = ("roots", "feature", "threshold", "left", "right", "shares")
    roots: Tensor
    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    shares: Tensor

    def __init__(self, body: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.body = body
        for name in ("roots", "left", "right"):
            self.register_buffer(name, torch.zeros(1, dtype=torch.int64))
        self.register_buffer("feature", torch.full((1,), -1))
        self.register_buffer("threshold", torch.zeros(1))
        self.register_buffer("shares", torch.full((1, num_classes), 1 / num_classes))

    def forward(self, images: Tensor) -> Tensor:
        seen: Tensor = self.body(images).float()
        if seen.is_meta:  # where only shapes count
            return seen.new_empty(len(seen), self.shares.shape[1])
        node = self.roots.expand(len(seen), -1)
        while bool((asked := self.feature[node]).max() >= 0):  # down one node, until all stand in leaves
            goes_left = seen.gather(1, asked.clamp(min=0)) <= self.threshold[node]
            below = torch.where(goes_left, self.left[node], self.right[node])
            node = torch.where(asked < 0, node, below)
        return self.shares[node].float().mean(dim=1).clamp(min=1e-9).log()

    def start_from(self, state: dict[str, Tensor]) -> None:
        """Take the body's weights from the state of the network that it is the body of."""
        self.body.load_state_dict({key: state[key] for key in self.body.state_dict()})

    def fit(self, images: Tensor, targets: Tensor, **options: Any) -> None:
        """Grow scikit-learn's RandomForestClassifier with these options."""
        from sklearn.ensemble import RandomForestClassifier

        with torch.inference_mode():
            seen = torch.cat([self.body(batch).float() for batch in torch.split(images, 256)]).numpy()
        forest = RandomForestClassifier(**options, random_state=int(torch.randint(2**31, ())))
        forest.fit(seen, targets.numpy())
        trees = [tree.tree_ for tree in forest.estimators_]
        starts = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        self.roots = torch.from_numpy(starts)
        # A leaf's feature is negative there, and so are its children, which are never asked for.
        self.feature = torch.from_numpy(np.concatenate([tree.feature for tree in trees])).long().clamp(min=-1)
        # Rounded down: features are float32, and one that equals a threshold rounded up would change sides.
        exact = np.concatenate([tree.threshold for tree in trees])
        near = exact.astype(np.float32)
        self.threshold = torch.from_numpy(np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near))
        for name in ("left", "right"):
            children = [getattr(tree, f"children_{name}") + at for tree, at in zip(trees, starts, strict=True)]
            setattr(self, name, torch.from_numpy(np.concatenate(children)))
        shares = np.zeros((len(exact), self.shares.shape[1]))
        shares[:, forest.classes_] = np.concatenate([tree.value[:, 0] for tree in trees])
        self.shares = torch.from_numpy(shares / shares.sum(axis=1, keepdims=True)).float()


def _levels(images: Tensor) -> Tensor:
    """(N, 1, S, S) in 0..1 -> (N, S * S) whole numbers in -128..127, float32."""
    return (images.flatten(1) * 255).round() - 128


def _tensor(array: Float64Array) -> Tensor:
    return torch.from_numpy(array).float()


def _set_rows(layer: nn.Linear, rows: npt.NDArray[np.int64], weight: Float64Array, bias: Float64Array) -> None:
    """The classes that were met; the others never win."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(-torch.inf)
        layer.weight[rows] = _tensor(weight)
        layer.bias[rows] = _tensor(bias)
