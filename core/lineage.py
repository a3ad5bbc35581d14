"""OpenLineage events of pipeline steps: https://openlineage.io/spec.

In a file they are lines; in a bucket, which cannot append, each is an object: `<date>/<run>-<state>.json`.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

from openlineage.client.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import RunFacet, error_message_run, parent_run
from openlineage.client.serde import Serde
from openlineage.client.transport.file import FileConfig, FileTransport
from openlineage.client.transport.transport import Config, Transport

from core import storage
from core.errors import FalajError

NAMESPACE = "falaj"
PRODUCER = "https://github.com/falaj/falaj"


def run_uuid(pipeline_run: str) -> str:
    """OpenLineage wants a UUID; a pipeline run's id that is not one maps to one, always the same."""
    try:
        return str(UUID(pipeline_run))
    except ValueError:
        return str(uuid5(UUID(int=0), pipeline_run))


class _Objects(Transport):
    """OpenLineage's own file transport appends, or names files by the time alone."""

    kind = "objects"
    config_class = Config

    def __init__(self, place: str) -> None:
        self._place = place

    def emit(self, event: Any) -> None:
        name = f"{event.run.runId}-{event.eventType.value}.json"
        storage.write(storage.join(self._place, event.eventTime[:10], name), Serde.to_json(event).encode())


def _transport(log: str | Path) -> Transport:
    path = storage.local_path(log)
    if path is None:
        return _Objects(str(log))
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileTransport(FileConfig(log_file_path=str(path), append=True))


@contextmanager
def step(
    log: str | Path, pipeline: str, pipeline_run: str, name: str, inputs: Sequence[str], outputs: Sequence[str]
) -> Iterator[None]:
    """Emit START on entry and COMPLETE or FAIL on exit, with the pipeline's run as the parent.

    Args:
        log: File that the events are appended to, one JSON document a line, or the address of a bucket's folder.
        inputs: Names of the datasets read, such as `employment.records`.
        outputs: Names of the datasets written.

    Raises:
        StorageError: The bucket cannot be written.
    """
    client = OpenLineageClient(transport=_transport(log))
    parent = parent_run.ParentRunFacet(
        run=parent_run.Run(runId=run_uuid(pipeline_run)), job=parent_run.Job(namespace=NAMESPACE, name=pipeline)
    )
    run_id = str(uuid4())

    def emit(state: RunState, error: BaseException | None = None) -> None:
        facets: dict[str, RunFacet] = {"parent": parent}
        if error is not None:
            # Only the project's own messages are known to hold no personal data.
            message = str(error) if isinstance(error, FalajError) else type(error).__name__
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                message=message, programmingLanguage="python"
            )
        client.emit(
            RunEvent(
                eventType=state,
                eventTime=dt.datetime.now(dt.UTC).isoformat(),
                run=Run(runId=run_id, facets=facets),
                job=Job(namespace=NAMESPACE, name=f"{pipeline}.{name}"),
                producer=PRODUCER,
                inputs=[InputDataset(namespace=NAMESPACE, name=dataset) for dataset in inputs],
                outputs=[OutputDataset(namespace=NAMESPACE, name=dataset) for dataset in outputs],
            )
        )

    emit(RunState.START)
    try:
        yield
    except BaseException as error:
        emit(RunState.FAIL, error)
        raise
    emit(RunState.COMPLETE)
