"""The metrics of several processes as one answer: whichever is asked, asks the others."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

_ANSWER_S = 2.0

logger = logging.getLogger("falaj.peers")


@dataclass(frozen=True, slots=True)
class Peers:
    """The processes behind one port, of which this is the one with `index`. Each listens on a socket in `folder`."""

    folder: Path
    index: int
    count: int

    async def start(self, registry: CollectorRegistry) -> asyncio.Server:
        """Tell the others this process's metrics, whenever they connect."""

        async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(generate_latest(registry))
            writer.close()

        path = self._path(self.index)
        path.unlink(missing_ok=True)
        return await asyncio.start_unix_server(tell, path)

    async def metrics(self) -> bytes:
        """The metrics of all, with the label `process`; without those of one that is being started again."""
        texts = await asyncio.gather(*(self._ask(index) for index in range(self.count)))
        return generate_latest(_Merged(dict(enumerate(texts))))

    async def _ask(self, index: int) -> str:
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(self._path(index))
                text = await reader.read()
                writer.close()
        except (OSError, TimeoutError):
            logger.warning("process %d does not tell its metrics", index)
            return ""
        return text.decode()

    def _path(self, index: int) -> Path:
        return self.folder / f"{index}.sock"


class _Merged(CollectorRegistry):
    """The families of several processes, each sample with the process that it is of."""

    def __init__(self, texts: dict[int, str]) -> None:
        super().__init__()
        self._families: dict[str, Metric] = {}
        for index, text in texts.items():
            for family in text_string_to_metric_families(text):
                merged = self._families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    merged.add_sample(
                        sample.name, {**sample.labels, "process": str(index)}, sample.value, sample.timestamp
                    )

    def collect(self) -> Iterator[Metric]:
        yield from self._families.values()
