"""`falaj predict`: ask the live model through the gateway."""

import json
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from core.errors import DataError, ServiceError
from core.model_spec import ModelSpec
from falaj import console, environment, repository

MAX_ROWS = 64
"""Rows of one request; a file of more is sent in several."""


def predict(
    model: Annotated[str, typer.Argument(help="Name of the model: its contract's name.")],
    entity: Annotated[
        list[str] | None, typer.Option("--id", help="Identifier whose features are in the store; may be repeated.")
    ] = None,
    features: Annotated[
        str | None, typer.Option("--features", help="Features as JSON: '{\"AGEP\": 40, ...}' or a list of such.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="CSV or Parquet file with the model's feature columns.")
    ] = None,
    version: Annotated[int | None, typer.Option(help="Ask this version instead of the live one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict for entities of the feature store, or for features given here."""
    if sum(source is not None for source in (entity or None, features, file)) != 1:
        raise typer.BadParameter("give one of --id, --features or --file")
    running = environment.load()
    spec = repository.spec(running, model, version)
    if entity:
        labels = list(entity)
        requests = [by_id(spec, labels[at : at + MAX_ROWS]) for at in range(0, len(labels), MAX_ROWS)]
    else:
        rows = _rows(features, file)
        labels = [str(number) for number in range(len(rows))]
        requests = [_by_features(spec, rows[at : at + MAX_ROWS]) for at in range(0, len(rows), MAX_ROWS)]
    answers = ask(repository.infer_url(running, model, version), model, requests)
    _show(labels, answers, as_json)


def ask(url: str, model: str, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """POST each request to the model's infer endpoint `url`.

    Raises:
        ServiceError: The runtime cannot be reached or refuses; the message holds its reason.
    """
    answers = []
    try:
        with httpx.Client(timeout=30) as client:
            for request in requests:
                response = client.post(url, json=request)
                if response.status_code != httpx.codes.OK:
                    raise ServiceError(f"{model} refused ({response.status_code}): {_reason(response)}")
                answers.append(response.json())
    except httpx.HTTPError as error:
        raise ServiceError(f"no answer from {url} ({error}): see `falaj status`") from error
    return answers


def by_id(spec: ModelSpec, ids: list[str]) -> dict[str, Any]:
    """An Open Inference Protocol request that names entities.

    Raises:
        DataError: No feature store holds what the model takes.
    """
    if spec.features is None:
        raise DataError(f"{spec.name} takes nothing that a feature store holds: give --features or --file")
    tensor = {"name": spec.features.entity, "datatype": "BYTES", "shape": [len(ids)], "data": ids}
    return {"inputs": [tensor]}


def _by_features(spec: ModelSpec, rows: list[dict[str, Any]]) -> dict[str, Any]:
    wanted = [column for tensor in spec.inputs for column in tensor.columns]
    for number, row in enumerate(rows):
        if missing := [column for column in wanted if column not in row]:
            raise DataError(f"row {number} lacks {', '.join(missing)}; the model takes {', '.join(wanted)}")
    return {
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": [len(rows), len(tensor.columns)],
                "data": [row[column] for row in rows for column in tensor.columns],
            }
            for tensor in spec.inputs
        ]
    }


def _rows(features: str | None, file: Path | None) -> list[dict[str, Any]]:
    if features is not None:
        try:
            document = json.loads(features)
        except ValueError as error:
            raise typer.BadParameter(f"--features is not JSON: {error}") from error
        rows = document if isinstance(document, list) else [document]
        if not rows or not all(isinstance(row, dict) for row in rows):
            raise typer.BadParameter("--features takes an object, or a list of objects")
        return rows
    import pandas as pd

    assert file is not None  # noqa: S101 - one of the two is given
    try:
        frame = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


def _show(labels: list[str], answers: list[dict[str, Any]], as_json: bool) -> None:
    names = [output["name"] for output in answers[0]["outputs"]]
    columns = {
        name: [
            value
            for answer in answers
            for output in answer["outputs"]
            if output["name"] == name
            for value in output["data"]
        ]
        for name in names
    }
    version = answers[0].get("model_version")
    if as_json:
        rows = [{"row": label} | {name: columns[name][at] for name in names} for at, label in enumerate(labels)]
        console.result({"model": answers[0]["model_name"], "version": version, "predictions": rows})
        return
    shown = [[label, *(f"{columns[name][at]:.4g}" for name in names)] for at, label in enumerate(labels)]
    console.table(["row", *names], shown)
    console.say(f"answered by {answers[0]['model_name']} version {version}")
