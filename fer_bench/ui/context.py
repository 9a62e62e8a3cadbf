"""What the tabs share: the models that can be tried, loaded once each, and the face detector."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from fer_bench import faces, leaderboard, registry, weights
from fer_bench.errors import FerBenchError
from fer_bench.leaderboard.board import manifest_path
from fer_bench.leaderboard.latency import read_latency
from fer_bench.leaderboard.text import milliseconds
from fer_bench.predict import Predictor
from fer_bench.records import Workspace, read_record

if TYPE_CHECKING:
    import pandas as pd

# A frame has to be classified while the next one is captured; the default is one that can.
QUICK_MS = 10.0
LOADED_AT_ONCE = 8


@dataclass(frozen=True)
class Choice:
    """A shipped network that can be picked.

    Attributes:
        name: "model.recipe", as `weights.load_published` takes it.
        accuracy: on FER2013's private test in percent, None if neither the board nor the manifest says.
        select_accuracy: the same on the selection part.
        milliseconds: for one face on one thread, None if it was not measured.
    """

    name: str
    accuracy: float | None
    select_accuracy: float | None
    milliseconds: float | None

    @property
    def label(self) -> str:
        """How the picker shows it."""
        parts = [self.name]
        if self.accuracy is not None:
            parts.append(f"{self.accuracy:.1f}%")
        if self.milliseconds is not None:
            parts.append(milliseconds(self.milliseconds))
        return " · ".join(parts)


@dataclass
class Context:
    """One app's models and detector; many threads use it at once."""

    workspace: Workspace = field(default_factory=Workspace)
    _loaded: OrderedDict[str, Predictor] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def board(self) -> pd.DataFrame:
        """The board, empty if there is none.

        Raises:
            FerBenchError: the CSV is corrupt.
        """
        return leaderboard.read_board(self.workspace)

    @cached_property
    def choices(self) -> list[Choice]:
        """Every shipped network, best on FER2013 first."""
        try:
            board = self.board()
        except FerBenchError:  # the leaderboard's own tab says so; a network can be tried without it
            rows = {}
        else:
            ours = board[(board["protocol"] == "fer2013") & ~board["external"]]
            rows = {f"{row['model']}.{row['recipe']}": row for row in ours.to_dict("records")}

        manifest = _manifest(self.workspace)

        def number(name: str, column: str) -> float | None:
            value = rows.get(name, {}).get(column)
            return manifest.get(name, {}).get(column) if value is None or value != value else float(value)

        names = sorted(path.name.removesuffix(".safetensors") for path in self.workspace.weights.glob("*.safetensors"))
        found = [
            Choice(
                name,
                number(name, "accuracy"),
                number(name, "select_accuracy"),
                number(name, "cpu_ms"),
            )
            for name in names
        ]
        return sorted(found, key=lambda choice: -(choice.accuracy or 0.0))

    @property
    def default(self) -> Choice | None:
        """Best on the selection part, of those quick enough to be used live if any is; None if nothing is shipped."""
        quick = [c for c in self.choices if c.milliseconds is not None and c.milliseconds <= QUICK_MS]
        return max(quick or self.choices, key=lambda choice: choice.select_accuracy or 0.0, default=None)

    @cached_property
    def measures(self) -> str:
        """What the picker says of each network, and on what processor its time was measured."""
        try:
            measured = read_latency(self.workspace)
        except FerBenchError:
            measured = None
        return "accuracy on FER2013, time for a face" + (f" on one core ({measured.get('cpu')})" if measured else "")

    def untrained(self) -> list[tuple[str, str]]:
        """Models that can't be picked: the name, and why not or the command that trains it."""
        shipped = {choice.name.rpartition(".")[0] for choice in self.choices}
        absent = (name for name in registry.list_models() if name not in shipped)
        return [(name, weights.how_to_get(self.workspace, name)) for name in absent]

    def name(self, name: str) -> str:
        """The shipped "model.recipe" that a name means, as `weights.published_name`."""
        return weights.published_name(self.workspace, name)

    def predictor(self, name: str) -> Predictor:
        """A shipped network by its "model.recipe", loaded when first asked for.

        Raises:
            FerBenchError: the file is missing, corrupt or of another revision.
        """
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = weights.load_published(self.workspace, name)
                while len(self._loaded) > LOADED_AT_ONCE:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(name)
            return self._loaded[name]

    def never_found(self, name: str) -> tuple[tuple[str, int], ...]:
        """Classes of whose faces in its test a shipped network found none, each with how many there are.

        Raises:
            FerBenchError: as `predictor`.
        """
        known = self.predictor(name).metadata
        model, _, recipe = name.rpartition(".")
        path = self.workspace.record_path("fer2013", model, recipe, known.get("seed", 0))
        try:
            record = read_record(path)
        except FerBenchError:  # the leaderboard's tab says so
            return ()
        plain = record.metrics["test"]["plain"]
        scores = zip(record.classes, plain["recall"], plain["support"], strict=True)
        return tuple((label, support) for label, recall, support in scores if support and not recall)

    @cached_property
    def detector(self) -> faces.Detector:
        """The face detector at work here."""
        return faces.find_detector()


def _manifest(workspace: Workspace) -> dict[str, dict[str, float]]:
    """What the manifest says of each shipped network, by the board's columns; nothing if it can't be read."""
    try:
        entries = json.loads(manifest_path(workspace).read_text(encoding="utf-8"))
        return {
            str(entry["file"]).removesuffix(".safetensors"): {
                column: float(entry[key])
                for column, key in (("accuracy", "test_accuracy"), ("select_accuracy", "select_accuracy"))
                if entry.get(key) is not None
            }
            for entry in entries
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
