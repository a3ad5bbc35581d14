"""Register: the model, its signature, its lineage and its card become one version in MLflow's registry."""

import datetime as dt
import importlib.metadata
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx as onnx_format

from components.evaluate.report import read_report
from components.export.report import read_report as read_export_report
from components.register.card import make_card, render
from components.tracking import tracking
from core.contract import DataContract
from core.digest import bytes_digest, file_digest
from core.errors import DataError, GateError
from core.model_spec import MODEL_FILE, SPEC_FILE, ModelSpec, Tensor

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

logger = logging.getLogger("falaj.register")

CARD_JSON = "card.json"
CARD_MARKDOWN = "card.md"
MODEL_TAG = "falaj.model"
_DTYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype(np.float32),
    "INT64": np.dtype(np.int64),
    "BYTES": np.dtype(np.str_),
}


def register(
    contract: DataContract,
    onnx: Path,
    report: Path,
    mlflow_url: str,
    mlflow_run: str,
    today: dt.date | None = None,
) -> int:
    """Make a version of the registered model `contract.name`; the same model of the same run is registered once.

    All artifacts are stored before the version is made, under a path of their own, so whoever sees a
    version sees it whole, and a step that died is simply repeated.

    Args:
        onnx: The folder that export wrote.
        report: The folder that evaluate wrote.
        today: The date on the card; in UTC by default.

    Returns:
        The version.

    Raises:
        DataError: A folder is not whole.
        GateError: The evaluation did not pass.
        ServiceError: MLflow does not answer or refuses.
    """
    evaluation = read_report(report)
    if evaluation.failed:
        raise GateError(f"{contract.name}: gates failed, so it is not registered: see {report}")
    try:
        spec = ModelSpec.model_validate_json((onnx / SPEC_FILE).read_bytes())
        digest = file_digest(onnx / MODEL_FILE)
    except (OSError, ValueError) as error:
        raise DataError(f"{onnx} holds no exported model: {error}: run export again") from error
    day = today or dt.datetime.now(dt.UTC).date()
    card = make_card(contract, evaluation, read_export_report(onnx), spec, digest, day)
    with tracking(mlflow_url) as client, tempfile.TemporaryDirectory() as scratch:
        for version in client.search_model_versions(f"name = '{contract.name}' and run_id = '{mlflow_run}'"):
            if version.tags.get(MODEL_TAG) == digest:
                logger.info("version %s of %s holds this model already", version.version, contract.name)
                return int(version.version)
        folder = Path(scratch) / "model"
        _write_model(folder, onnx, spec)
        card_json = card.model_dump_json(indent=2) + "\n"
        (folder / CARD_JSON).write_text(card_json)
        (folder / CARD_MARKDOWN).write_text(render(card))
        place = f"model-{digest.removeprefix('sha256:')[:12]}"
        client.log_artifacts(mlflow_run, str(folder), place)
        _ensure_registered(client, contract)
        created = client.create_model_version(
            contract.name,
            source=f"{client.get_run(mlflow_run).info.artifact_uri}/{place}",
            run_id=mlflow_run,
            await_creation_for=0,
            description=f"{contract.title}. {card.baseline_comparison}.",
            tags={
                MODEL_TAG: digest,
                "falaj.card": bytes_digest(card_json.encode()),
                "falaj.risk_tier": card.risk_tier,
                "falaj.review_by": str(card.review_by),
                **{f"falaj.{name}": value for name, value in spec.lineage.model_dump().items()},
            },
        )
        client.set_terminated(mlflow_run, "FINISHED")
        return int(created.version)


def _write_model(folder: Path, onnx: Path, spec: ModelSpec) -> None:
    import mlflow.onnx

    names = ("numpy", "onnx", "onnxruntime")
    mlflow.onnx.save_model(
        onnx_format.load(onnx / MODEL_FILE),
        str(folder),
        signature=_signature(spec),
        # Left to itself, MLflow finds them out by starting a process that loads the model.
        pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in names],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
        metadata={"spec": spec.model_dump(mode="json")},
    )


def _signature(spec: ModelSpec) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def schema(tensors: tuple[Tensor, ...]) -> Schema:
        return Schema([TensorSpec(_DTYPES[tensor.datatype], tensor.shape, tensor.name) for tensor in tensors])

    return ModelSignature(inputs=schema(spec.inputs), outputs=schema(spec.outputs))


def _ensure_registered(client: "MlflowClient", contract: DataContract) -> None:
    from mlflow.exceptions import MlflowException

    tags = {"falaj.owner": contract.owner.team, "falaj.purpose": contract.purpose.id}
    try:
        client.create_registered_model(contract.name, tags=tags, description=contract.title)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
