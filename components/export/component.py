"""KFP shell of the export step."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def export(
    mlflow_run: str,
    run_id: str,
    contract: dsl.Input[dsl.Artifact],
    model: dsl.Input[dsl.Model],
    training: dsl.Input[dsl.Dataset],
    report_of_ingest: dsl.Input[dsl.Artifact],
    onnx: dsl.Output[dsl.Model],
) -> None:
    """Write the model as ONNX, bound to what it came from; see components.export.step.export."""
    from pathlib import Path

    from components.export import step
    from components.ingest.step import IngestReport
    from components.shell import running
    from core.contract import load_contract
    from core.digest import code_digest, environment_digest
    from core.model_spec import Lineage

    agreed = load_contract(contract.path)
    with running("export", run_id, agreed.name, ["model", "training"], ["onnx"]):
        ingested = IngestReport.model_validate_json(Path(report_of_ingest.path).read_bytes())
        lineage = Lineage(
            contract=ingested.contract_digest,
            data=ingested.data_digest,
            code=code_digest(),
            environment=environment_digest(),
            pipeline_run=run_id,
            mlflow_run=mlflow_run,
        )
        result = step.export(agreed, Path(model.path), Path(training.path), lineage, Path(onnx.path))
        onnx.metadata["max_difference"] = result.max_difference
        onnx.metadata["graph"] = result.verdict
