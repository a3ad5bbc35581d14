"""What the providers have to tell the summary, each in a process of its own: a file that all append to."""

import json
import os
from collections import defaultdict
from pathlib import Path

FOLDER = "FALAJ_REHEARSAL"
"""The variable that names the rehearsal's folder to the providers."""


def folder() -> Path:
    """The rehearsal's folder."""
    return Path(os.environ[FOLDER])


def note(about: str, text: str) -> None:
    """Tell the summary something under a heading; the same twice is told once."""
    line = json.dumps([about, text]) + "\n"
    with (folder() / "notes.jsonl").open("a") as file:
        file.write(line)


def read(of: Path) -> dict[str, list[str]]:
    """What was told in a rehearsal's folder, by heading, each once and sorted."""
    found: dict[str, set[str]] = defaultdict(set)
    file = of / "notes.jsonl"
    for line in file.read_text().splitlines() if file.exists() else []:
        about, text = json.loads(line)
        found[about].add(text)
    return {about: sorted(texts) for about, texts in sorted(found.items())}
