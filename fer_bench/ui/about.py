"""The about tab: what the numbers are and are not, where the models come from, what a picture goes through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import gradio as gr

from fer_bench import registry
from fer_bench.faces import HUB_MODEL
from fer_bench.protocols import PROTOCOLS
from fer_bench.ui import uploads

if TYPE_CHECKING:
    from fer_bench.specs import ModelSpec
    from fer_bench.ui.context import Context

CSS = """
#fb-about { max-width: 48rem; }
#fb-about pre, #fb-about pre code { white-space: pre-wrap; overflow-wrap: anywhere; }
.fb-report table { display: block; overflow-x: auto; max-width: 100%; }
/* The figures ask for it: the page may be dark where the system is not. */
.fb-report img { color-scheme: light; }
.dark .fb-report img { color-scheme: dark; }
.fb-report th, .fb-report td { overflow-wrap: normal; word-break: normal; min-width: 4rem; }
"""
USE = """
## What this is for

The models name **how a face looks**, in the words that people wrote beside pictures. That is not what a person feels:
the same look has many reasons, and people who labelled FER2013 agree with each other about two times in three.

- Accuracy differs between groups of people, and nothing here measures by how much. The training pictures are whatever
  the data sets' makers found or filmed.
- It is no basis for a decision about anyone: not at work, at school, in policing, in medicine, nor anywhere else.
- It is for comparing models, repeating papers, and seeing where such models fail.

## What happens to a picture

A picture goes to the machine that runs this app and no further. It is kept in a temporary folder, from which it is
deleted within {minutes} minutes; a page's last answer stays in memory until some hundred other visitors have come, or
the app ends. There is no history, and no analytics.
"""

FACES = f"""
## From a picture to an answer

Faces are found by YuNet (Wu, Peng and Yu, 2023), whose file is fetched once from
[{HUB_MODEL}](https://huggingface.co/{HUB_MODEL}), or by OpenCV's Haar cascade where it can't be had; *Try it* says
which one is at work. Each face is cut out as a square that frames it as FER2013's pictures frame theirs, brought to
the model's size, and classified by the same code and the same weights file that the scores come from. The percentages
are calibrated: logits are divided by a temperature fitted on FER2013's PublicTest, which leaves their order as it is.
"""

NUMBERS = """
## How a number is made

A run trains on `train`, chooses its epoch on `select` and predicts `test` once. Its record holds the recipe in full,
hashes of every fold and all predictions; the board is computed from the records and nothing in it is typed in. Where
a paper's number stands beside ours, it is the paper's own claim.

Make a row, or all of them:

```bash
python -m fer_bench run --model lin_shi --protocol fer2013 --recipe paper --seeds 0
python -m fer_bench run --all
```

Recompute every number from the stored predictions, and predict again with the shipped networks:

```bash
python -m fer_bench leaderboard verify --weights
```

Enter predictions of your own, made with anything:

```bash
python -m fer_bench score predictions.csv --protocol fer2013 --name my_model
```
"""


def build(context: Context) -> None:
    """The tab."""
    parts = (USE.format(minutes=uploads.minutes_kept()), protocols(), NUMBERS, papers(), FACES)
    gr.Markdown("\n".join(parts), padding=True, elem_id="fb-about")
    reports = sorted((context.workspace.leaderboard / "papers").glob("*.md"))
    goals = context.workspace.leaderboard / "goals.md"
    if goals.exists():
        title, body = report(goals)
        with gr.Accordion(title, open=False):
            gr.Markdown(body, elem_classes="fb-report")
    if reports:
        gr.Markdown("## Each paper beside our runs", padding=True)
        gr.set_static_paths([reports[0].parent])
    for path in reports:
        title, body = report(path)
        with gr.Accordion(title or path.stem, open=False):
            gr.Markdown(body, elem_classes="fb-report")


def report(path: Path) -> tuple[str, str]:
    """A paper's page as the tab shows it: its title, and the rest with figures that the app serves."""
    title, _, body = path.read_text(encoding="utf-8", errors="replace").partition("\n")
    folder = path.parent.resolve()
    if folder.is_relative_to(Path.cwd()):  # where the project lies is nobody's business
        folder = folder.relative_to(Path.cwd())
    body = re.sub(r"\]\(([\w-]+\.svg)\)", rf"](/gradio_api/file={quote(folder.as_posix())}/\1)", body)
    # Headings have no anchors here, and the other pages stand beside this one.
    return title.lstrip("# "), re.sub(r"\[([^\]]+)\]\((#[\w-]+|[\w-]+\.md)\)", r"\1", body)


def protocols() -> str:
    """What each protocol's number is, and what it is not."""
    lines = (f"- **`{p.name}`** {p.title}. *{p.caveat}*" for p in PROTOCOLS.values())
    return "\n".join(["## The protocols, and what their numbers are not", "", *lines, ""])


def papers() -> str:
    """The papers, each with the models that come from it and what it reports for them."""
    by_paper: dict[str, list[ModelSpec]] = {}
    for name in registry.list_models():
        spec = registry.get_spec(name)
        by_paper.setdefault(spec.paper, []).append(spec)
    lines = ["## The papers", "", "In brackets what the paper itself reports, in percent of the test images.", ""]
    # What reports nothing is ours, or a floor: last.
    for paper, specs in sorted(by_paper.items(), key=lambda item: not any(spec.reported for spec in item[1])):
        lines += [f"**{_linked(paper[0].upper() + paper[1:])}**", "", *_models(specs), ""]
    return "\n".join(lines)


def _models(specs: list[ModelSpec]) -> Iterator[str]:
    for spec in specs:
        claimed = ", ".join(
            f"{r.protocol}{'' if r.recipe == 'paper' else f' {r.recipe}'} {r.accuracy:.2f}"
            for r in spec.reported
            if r.split == "test"
        )
        yield f"- `{spec.name}` {spec.title}" + (f" ({claimed})" if claimed else "")


def _linked(paper: str) -> str:
    """An arXiv number becomes a link, which the page opens in a new tab."""
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", paper)
