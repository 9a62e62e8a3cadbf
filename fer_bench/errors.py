"""The errors that a user can cause and can mend; each is one readable line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FerBenchError(Exception):
    """Bad input. The message says what was expected, what came, and what to do (exit code 2)."""


class DataNotFoundError(FerBenchError):
    """A data set is nowhere to be found; the message says what to get and where to put it."""


class UnknownNameError(FerBenchError):
    """A name that is not registered, with the nearest valid one."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"unknown {kind} {name!r}: {hint}")
