"""Short pieces of HTML that every tab uses; text that comes from outside is escaped, what is in `...` set as code."""

from __future__ import annotations

import base64
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer_bench.records import Workspace


def public(problem: object, workspace: Workspace) -> str:
    """An error's text for visitors: files by their path in the project, as where that lies is nobody's business."""
    return str(problem).replace(f"{workspace.root}/", "")


def _html(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def note(text: str) -> str:
    """A remark."""
    return f'<p class="fb-note" role="status">{_html(text)}</p>' if text else ""


def warning(text: str) -> str:
    """What went wrong and what to do, read out by screen readers."""
    return f'<p class="fb-warning" role="alert">{_html(text)}</p>'


def empty(text: str) -> str:
    """What will be here, where there is nothing yet."""
    return f'<div class="fb-empty">{_html(text)}</div>'


def download(name: str, text: str, kind: str, label: str) -> str:
    """A link that saves `text` as a file; the text is in the page, so that nothing stays on the server."""
    data = base64.b64encode(text.encode()).decode()
    return f'<a class="fb-download" download="{escape(name)}" href="data:{kind};base64,{data}">{escape(label)}</a>'
