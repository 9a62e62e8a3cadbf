"""What the benchmark set out to reach, and how far it is: a table beside the papers' pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fer_bench.leaderboard.rows import Row, every
from fer_bench.report.measures import select_accuracy
from fer_bench.report.paper import Ref
from fer_bench.specs import View


@dataclass(frozen=True)
class Goal:
    """A test accuracy to reach, in percent.

    Attributes:
        least: what must be reached, on a processor and on a GPU.
        aim: what would be good; None where nothing more is asked.
        recipe: empty for the row best on the selection part of those that start from random weights.
        why: where the number comes from.
    """

    protocol: str
    model: str
    recipe: str
    least: tuple[float, float]
    aim: float | None = None
    view: View = "plain"
    why: str = ""


def _both(least: float) -> tuple[float, float]:
    return (least, least)


GOALS = (
    *(Goal("fer2013", f"marrugat_{number}", "fer_bench", _both(58), 62) for number in (1, 2, 3, 4)),
    Goal("fer2013", "lin_shi", "paper", _both(58), 59, why="the paper has 58.6"),
    Goal("fer2013", "lin_shi", "fer_bench", _both(63), 66),
    Goal("fer2013", "ranjan_1", "paper", _both(61), 63, why="the paper has 62.16"),
    Goal("fer2013", "ranjan_1", "fer_bench", _both(63), 67),
    Goal("fer2013", "ranjan_2", "paper", _both(65), 68.7, why="the paper has 68.66"),
    Goal("fer2013", "ranjan_2", "fer_bench", _both(67), 71),
    Goal("fer2013", "attentional_cnn", "fer_bench", _both(55), 58, why="the paper has 70.02, widths not stated"),
    Goal("fer2013", "attentional_cnn_wide", "fer_bench", _both(64), 70, why="the paper has 70.02"),
    Goal("fer2013", "resnet18", "fer_bench", _both(65), view="ten_crop", why="what a processor trains"),
    Goal("fer2013", "resnet18", "record", _both(73), 74.2, "ten_crop", "others state 73.7, chosen on the test set"),
    Goal("fer2013", "ensemble", "greedy", (69, 75.2), 76.9, why="others state 75.2, and 76.8 chosen on the test set"),
    Goal("ckplus_subject", "resnet18", "from_fer2013", _both(93)),
    Goal("ckplus_subject", "", "", _both(85), why="on the selection part the best that starts from random weights"),
    Goal("sfew_2fold", "leng_cnn", "paper", _both(37), why="the paper has 37.03, whole frames"),
    Goal("sfew_2fold", "resnet18", "from_fer2013", _both(45), why="faces cut out"),
)

HEAD = (
    "# Goals\n\n"
    "Computed from the records by `python -m fer_bench report goals`; only the goals are typed in. Accuracies are in "
    "percent on the test part, in one look at the picture unless it says ten crops; what was selected was selected on "
    "the selection part, and the test part was read once, after training. Minutes are those of one seed, or of all of "
    "an ensemble's members.\n"
)


def page(rows: Sequence[Row]) -> str:
    """The page, from the rows on complete data."""
    lines = [
        HEAD,
        "| protocol | row | at least | aim | reached | goal met | minutes | trained on |",
        "|:--|:--|--:|--:|--:|:--|--:|:--|",
    ]
    commands = []
    for goal in GOALS:
        row = _row(goal, rows)
        lines.append(_line(goal, row))
        commands.append(_command(goal, row))
    return "\n".join([*lines, "", "The commands, in the same order:", "", *(f"    {line}" for line in commands), ""])


def _row(goal: Goal, rows: Sequence[Row]) -> Row | None:
    own = [row for row in rows if row.first.protocol == goal.protocol and not row.first.external]
    if goal.model:
        return next((row for row in own if row.name == f"{goal.model}.{goal.recipe}"), None)
    fresh = [row for row in own if row.first.trained and row.first.pretrained == "none"]
    return max(fresh, key=lambda row: select_accuracy(row).value, default=None)


def _line(goal: Goal, row: Row | None) -> str:
    name = f"{goal.model}.{goal.recipe}" if goal.model else "any"
    if row is not None and not goal.model:
        name = row.name
    remarks = "; ".join(filter(None, ("ten crops" if goal.view == "ten_crop" else "", goal.why)))
    cpu, gpu = goal.least
    least = f"{cpu:g}" if cpu == gpu else f"{cpu:g} (GPU: {gpu:g})"
    aim = "" if goal.aim is None else f"{goal.aim:g}"
    cells = [goal.protocol, f"{name}{f' ({remarks})' if remarks else ''}", least, aim]
    if row is None:
        return f"| {' | '.join((*cells, 'not run', '', '', ''))} |"
    reached = round(100 * fmean(record.accuracy(goal.view) for record in row.records), 2)
    needed = gpu if any("cuda" in record.device.type for record in row.records) else cpu
    met = "**the aim**" if goal.aim is not None and reached >= goal.aim else "yes" if reached >= needed else "no"
    short = f", {needed - reached:.2f} short" if met == "no" else ""
    minutes = fmean(record.train_seconds for record in row.records) / 60
    device = every(record.device.name for record in row.records)
    return f"| {' | '.join((*cells, f'{reached:.2f}', met + short, f'{minutes:.1f}', device))} |"


def _command(goal: Goal, row: Row | None) -> str:
    if goal.model == "ensemble":
        return f"python -m fer_bench ensemble --protocol {goal.protocol}"
    if row is None:
        return Ref(goal.model or "MODEL", goal.protocol, goal.recipe or "RECIPE").command.strip("`")
    seeds = ",".join(str(record.seed) for record in row.records)
    ref = Ref(row.first.model, goal.protocol, row.first.recipe_name, "" if seeds == "0" else seeds)
    return ref.command.strip("`")
