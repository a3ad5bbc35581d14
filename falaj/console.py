"""How the command line speaks: tables and colours on a terminal, JSON where a script asks for it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

__all__ = ["err", "escape", "out", "result", "say", "table", "working"]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """A line of progress; goes to stderr, so that stdout holds results alone."""
    err.print(text, soft_wrap=True)


def result(value: Any) -> None:
    """A machine-readable result."""
    out.print_json(json.dumps(value, default=str))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A result for a person; a pipe gets the same columns, apart by tabs."""
    if not out.is_terminal:
        # Rich would make spaces of the tabs.
        out.file.writelines("\t".join(Text.from_markup(cell).plain for cell in row) + "\n" for row in (columns, *rows))
        return
    shown = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        shown.add_row(*row)
    out.print(shown)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show that something goes on; a plain line where there is no terminal."""
    if not err.is_terminal:
        say(text)
        yield
        return
    with err.status(text):
        yield
