"""What one training step is: a network, its optimiser, its moving average, and the rate at each step."""

from __future__ import annotations

import math
import os
import re
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from fer_bench import registry
from fer_bench.errors import FerBenchError
from fer_bench.losses import add_l2_gradient, classification_loss
from fer_bench.predict import float32, on_device
from fer_bench.replay import Replayed
from fer_bench.specs import ModelSpec, Recipe, Schedule
from fer_bench.transforms import Float32Array

# Images that a frozen body is tried on, see `Trainer.body_is_constant`.
TRIED = 8


@dataclass(frozen=True)
class Compute:
    """Where and how a run computes; recorded, never a hyperparameter.

    Attributes:
        device: "cpu" or "cuda[:i]".
        threads: torch's threads on the CPU; results are equal bit for bit at the same number.
        workers: processes that augment; results do not depend on them.
        bf16: autocast to bfloat16 while training, where the hardware has it.
    """

    device: str = "cpu"
    threads: int = 1
    workers: int = 0
    bf16: bool = False

    @property
    def precision(self) -> str:
        """As a record states it."""
        return "bfloat16 autocast" if self.bf16 else "float32"

    @classmethod
    def detect(cls, device: str | None = None, threads: int = 1) -> Compute:
        """The best use of what is there."""
        name = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
            raise FerBenchError(f"device {name!r}: expected cpu, cuda or cuda:N")
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            raise FerBenchError(f"device {name!r} can't be used here: {str(error).splitlines()[0]}") from error
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if name.startswith("cuda"):
            return cls(name, threads, min(8, max(cores - 1, 0)), torch.cuda.is_bf16_supported())
        bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        return cls(name, threads, 1 if cores > 1 else 0, bf16)


def derived_seed(*parts: int) -> int:
    """A 32-bit seed from a tuple of integers, the same everywhere."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def learning_rate(schedule: Schedule, base: float, step: int, steps: int, epoch: int) -> float:
    """The learning rate at a step (from 0) of an epoch (from 0)."""
    if schedule.name == "step":
        return base * schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    if schedule.name == "one_cycle":
        rise = max(1, round(schedule.warmup * steps))
        if step < rise:
            return base * (step + 1) / rise
        return base * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
    return base


def initialise(network: nn.Module, kind: str) -> None:
    """Draw the weights as the recipe says; torch's own initialisation is left as it is.

    A spatial transformer starts as the identity all the same.
    """
    if kind == "torch":
        return
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        if kind == "keras":
            nn.init.xavier_uniform_(layer.weight)
        else:
            fan_in = layer.weight[0].numel()
            nn.init.normal_(layer.weight, std=math.sqrt((2 if kind == "he" else 1) / fan_in))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for layer in network.modules():
        if hasattr(layer, "start_as_identity"):
            cast(Any, layer).start_as_identity()


def _last_layer(network: nn.Module) -> str:
    """The name of the layer that gives the logits."""
    names: list[str] = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    return names[-1]


def _head(network: nn.Module) -> nn.Module:
    return network.get_submodule(_last_layer(network))


def _optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    options = recipe.optimizer
    assert options is not None
    trained = [p for p in network.parameters() if p.requires_grad]
    # Decay pulls kernels to zero; on biases and batch norms' scales it only shifts the activations.
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    replayed = trained[0].device.type == "cuda"
    rate = torch.tensor(options.lr, device=trained[0].device) if replayed else options.lr
    if options.name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=options.momentum, nesterov=options.nesterov, fused=True)
    kind = torch.optim.AdamW if options.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, betas=options.betas, fused=True, capturable=replayed)


class Trainer:
    """A freshly initialised network, ready to take steps.

    Attributes:
        network: what is trained; see `train`, and its own `eval`.
        scored: what is evaluated: the moving average if the recipe has one, else the network.

    All of a network but its last layer is its body.
    """

    def __init__(
        self,
        spec: ModelSpec,
        recipe: Recipe,
        num_classes: int,
        *,
        seed: int,
        fold: int,
        compute: Compute,
        initial: dict[str, Tensor] | None = None,
    ) -> None:
        torch.set_num_threads(compute.threads)
        torch.use_deterministic_algorithms(compute.device == "cpu")
        # A debugging aid that costs time; a property behind the module, which mypy does not see.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.device = torch.device(compute.device)
        if self.device.index is not None and self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # streams and graphs are those of the current one
        self._spec, self._recipe, self._seed, self._fold, self._bf16 = spec, recipe, seed, fold, compute.bf16
        torch.manual_seed(derived_seed(seed, fold))
        network = registry.build(spec, num_classes, **recipe.model_options)
        initialise(network, recipe.init)
        if initial is not None:
            head = _last_layer(network)
            kept = {key: value for key, value in initial.items() if key.rpartition(".")[0] != head}
            own = {key: value for key, value in network.state_dict().items() if key.rpartition(".")[0] == head}
            network.load_state_dict(kept | own)
        if recipe.frozen:
            network.requires_grad_(False)
            _head(network).requires_grad_(True)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self._optimizer = _optimizer(recipe, network)
        self._replayed = Replayed() if self.device.type == "cuda" and spec.replayed else None
        self._average: Any = None
        if recipe.ema:
            from timm.utils.model_ema import ModelEmaV3

            self._average = ModelEmaV3(network, decay=recipe.ema, use_warmup=True)
        self.scored: nn.Module = network if self._average is None else self._average.module

    def train(self) -> None:
        """Training mode; what is frozen keeps its running statistics."""
        self.network.train()
        if self._recipe.frozen:
            for layer in self.network.modules():
                if isinstance(layer, nn.modules.batchnorm._NormBase):
                    layer.eval()

    def _autocast(self, to_score: bool = False) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bf16 and not to_score)

    @torch.no_grad()
    def _pass(self, inputs: Tensor) -> Tensor | None:
        """What the last layer is given; None if the network's answer is not this layer's one answer to it."""
        calls: list[tuple[Tensor, Tensor]] = []
        hook = _head(self.network).register_forward_hook(lambda _, given, answer: calls.append((given[0], answer)))
        logits = self.network(inputs)
        hook.remove()
        return calls[0][0] if len(calls) == 1 and calls[0][1] is logits else None

    def body_is_constant(self) -> bool:
        """Whether an image reaches the last layer the same in every step, mode and batch.

        It is tried, so that no kind of layer that draws numbers or looks at the rest of a batch can be overlooked.
        """
        if not self._recipe.frozen:
            return False
        images = torch.rand(TRIED, self._spec.channels, self._spec.size, self._spec.size, device=self.device)
        half = TRIED // 2
        with self._autocast():
            self.train()
            one = self._pass(images)
            self.network.eval()
            other = self._pass(torch.cat([images[:half], 1 - images[half:]]))
        return one is not None and other is not None and torch.equal(one[:half], other[:half])

    def features(self, inputs: Tensor, *, to_score: bool = False) -> Tensor:
        """What the last layer is given for such inputs, in the precision of the steps or of scoring: (N, F)."""
        self.network.eval()
        with self._autocast(to_score), float32() if to_score else nullcontext():
            features = self._pass(inputs)
        assert features is not None
        return features

    @torch.inference_mode()
    def probabilities(self, features: Tensor) -> Float32Array:
        """Of the classes by what is scored, from features for scoring: (N, classes) float32."""
        return torch.softmax(_head(self.scored)(features), dim=1).cpu().numpy()

    def step(
        self, inputs: Tensor, targets: Tensor, rate: float, epoch: int, step: int, per_epoch: int
    ) -> tuple[Tensor, Tensor]:
        """One update at a learning rate; `epoch`, `step` (from 0) and the steps an epoch say where the run is.

        Args:
            inputs: (N, C, S, S) float32, or what `features` gives for them.
            targets: (N,) int64, or distributions over the classes, (N, classes) float32.

        Returns:
            The loss without its L2 term, a scalar, and the (N, classes) logits, both detached.
        """
        share, order = self._mixing(len(targets), epoch, step)
        if self._replayed is None:
            answer = self._update(inputs, targets, rate, share, order)
        else:
            numbers = (torch.full((), number, device=self.device) for number in (rate, share))
            answer = self._replayed(self._update, inputs, targets, *numbers, *(() if order is None else (order,)))
        if self._average is not None:
            self._average.update(self.network, step=epoch * per_epoch + step)
        return answer

    def _mixing(self, n: int, epoch: int, step: int) -> tuple[float, Tensor | None]:
        """Mixup's share of each image of a batch, and the order of those that it is mixed with, if it is."""
        if not self._recipe.mixup:
            return 1.0, None
        rng = np.random.default_rng([self._seed, self._fold, epoch, step])
        share = float(rng.beta(self._recipe.mixup, self._recipe.mixup))
        return share, on_device(rng.permutation(n), self.device)

    def _update(
        self,
        inputs: Tensor,
        targets: Tensor,
        rate: float | Tensor,
        share: float | Tensor,
        order: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Forward, backward and the optimiser's step: the loss and the logits, detached.

        To be replayed, it is given its numbers on the device, where a replay reads them.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        recipe = self._recipe
        if order is not None:
            inputs = share * inputs + (1 - share) * inputs[order]
        trained = self.network if inputs.ndim == 4 else _head(self.network)
        with self._autocast():
            logits = trained(inputs)
        loss = share * classification_loss(recipe.loss, logits, targets)
        if order is not None:
            loss = loss + (1 - share) * classification_loss(recipe.loss, logits, targets[order])
        torch.autograd.backward(loss)
        add_l2_gradient(recipe.loss, self.network)
        if recipe.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.detach(), logits.detach()

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint needs of the trainer."""
        state = {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}
        return state if self._average is None else state | {"average": self._average.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint's state."""
        self.network.load_state_dict(state["network"])
        # How the step is computed is the device's, and a run may go on on another one.
        for saved, own in zip(state["optimizer"]["param_groups"], self._optimizer.param_groups, strict=True):
            saved |= {key: own[key] for key in ("fused", "capturable") if key in own}
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.module.load_state_dict(state["average"])
