"""The MLflow server as the steps use it: no global state, and an error that says what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from core.errors import ServiceError
from core.telemetry import silence

if TYPE_CHECKING:
    from mlflow import MlflowClient

PIPELINE_RUN = "falaj.pipeline_run"
_TIMEOUT_S = 10


@contextmanager
def tracking(url: str) -> Iterator["MlflowClient"]:
    """A client of the server at `url`.

    Raises:
        ServiceError: The server does not answer, or refuses what is asked inside the block.
    """
    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=_TIMEOUT_S).raise_for_status()
    except httpx.HTTPError as error:
        raise ServiceError(f"MLflow at {url} does not answer ({error}): see `falaj status`") from error
    silence()
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # By default the client retries for minutes before it says that a server is gone.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        yield MlflowClient(tracking_uri=url, registry_uri=url)
    except (MlflowException, OSError) as error:
        raise ServiceError(f"MLflow at {url} did not do what was asked ({error}): see `falaj status`") from error


def open_run(client: "MlflowClient", experiment: str, pipeline_run: str) -> str:
    """The id of the MLflow run of a pipeline's run; a step that is repeated finds the one it made before."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(experiment)
    if found is None:
        try:
            number = client.create_experiment(experiment)
        except MlflowException:
            # Another pipeline was quicker.
            if (found := client.get_experiment_by_name(experiment)) is None:
                raise
    if found is not None:
        number = found.experiment_id
    runs = client.search_runs([number], filter_string=f"tags.`{PIPELINE_RUN}` = '{pipeline_run}'", max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    return str(client.create_run(number, run_name=pipeline_run, tags={PIPELINE_RUN: pipeline_run}).info.run_id)
