"""What export says of the graph that it wrote: which one, and why."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from core.errors import DataError

EXPORT_FILE = "export.json"

GraphKind = Literal["float32", "int8"]
FASTER = 0.8
"""An optimised graph takes at most so much of the time: below that, measuring it is no more than noise."""
BATCHES = (1, 64)
"""Rows at once; the last decides, since the runtime runs what waits together."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Candidate(_Model):
    """One graph, measured on the held-out rows and on this machine."""

    kind: GraphKind
    bytes: int
    latency_us: dict[int, float]
    """The least time of a run by its rows, one thread, in µs."""
    metrics: dict[str, float]
    """Those that the contract has gates for."""
    losses: dict[str, float]
    """What each metric is worse by than the float32 graph's, in the unit of the contract's `export.max_loss`."""

    @property
    def loss(self) -> float:
        return max(self.losses.values(), default=0.0)


class ExportReport(_Model):
    """How far the graph departs from the model that was trained, and which graphs it was chosen from."""

    rows: int
    max_difference: float
    """Of the float32 graph, in the unit of `components.export.step.PARITY_LIMIT`."""
    bytes: int
    kind: GraphKind = "float32"
    candidates: tuple[Candidate, ...] = ()
    """None where the contract lets nothing be lost."""
    verdict: str = "float32, as it was trained: the contract sets no export.max_loss"


def choose(candidates: Sequence[Candidate], max_loss: float) -> tuple[GraphKind, str]:
    """The graph to serve and why.

    Args:
        candidates: The float32 graph, then the int8 graph where there is one.
        max_loss: What a metric may lose.
    """
    first, *others = candidates
    if not others:
        return first.kind, "float32, as it was trained: it has no matrix products that would be faster in 8 bits"
    other = others[0]
    rows = BATCHES[-1]
    share = other.latency_us[rows] / first.latency_us[rows]
    worst = max(other.losses, key=other.losses.__getitem__)
    measured = f"{other.kind} takes {share:.2f} of the time for {rows} rows and loses {other.loss:.4f} of {worst}"
    # NaN is no loss that is allowed.
    if not other.loss <= max_loss:
        return first.kind, f"float32, as it was trained: {measured}, more than export.max_loss {max_loss}"
    if share > FASTER or other.latency_us[1] > first.latency_us[1]:
        return first.kind, f"float32, as it was trained: {measured}, too little faster"
    return other.kind, f"{other.kind}: it {measured.removeprefix(f'{other.kind} ')}, at most export.max_loss {max_loss}"


def read_report(folder: Path) -> ExportReport:
    """Raises:
    DataError: The folder holds no report.
    """
    try:
        return ExportReport.model_validate_json((folder / EXPORT_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} holds no report of the export: {error}: run export again") from error
