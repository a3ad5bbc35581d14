"""What the inference runtime is scaled by beside its CPU: how busy it is, and how long requests wait.

The first sees a process that has no time left on a pod with several cores, or while a GPU computes; the second sees
bursts. How full batches are is no signal: a client that sends many rows at once fills one on an idle server.
"""

from infra.addons.monitoring import PROMETHEUS
from infra.config import StackConfig
from infra.substrates.base import Signal

_SCRAPES = 4
"""A rate over fewer would be gone when one fails."""
_BUSY = "falaj_runtime_busy_seconds_total{$pods}"
_WAIT = "falaj_inference_queue_seconds"


def runtime_signals(settings: StackConfig) -> list[Signal]:
    """Signals of the stack's runtimes; none where the stack's file does not ask for scaling by them."""
    if settings.scaling is None or settings.prometheus is None:
        return []
    window = f"[{_SCRAPES * settings.prometheus.scrape_seconds}s]"
    wait = f"sum(rate({_WAIT}_sum{{$pods}}{window})) / sum(rate({_WAIT}_count{{$pods}}{window}))"
    return [
        Signal(
            name="busy",
            server=PROMETHEUS,
            expression=f"sum(rate({_BUSY}{window}))",
            target=f"{settings.scaling.busy_percent / 100:g}",
        ),
        Signal(
            name="wait",
            server=PROMETHEUS,
            expression=f"count(count by (pod) ({_BUSY})) * {wait}",
            target=f"{settings.scaling.wait_milliseconds / 1000:g}",
        ),
    ]
