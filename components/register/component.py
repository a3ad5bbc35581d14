"""KFP shell of the register step."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    mlflow_run: str,
    run_id: str,
    contract: dsl.Input[dsl.Artifact],
    onnx: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
) -> int:
    """Make a version of the model in MLflow's registry; see components.register.step.register."""
    from pathlib import Path

    from components.register import step
    from components.shell import logger, running
    from core.audit import open_log
    from core.contract import load_contract
    from core.digest import file_digest
    from core.model_spec import MODEL_FILE, SPEC_FILE, ModelSpec

    agreed = load_contract(contract.path)
    folder = Path(onnx.path)
    with running("register", run_id, agreed.name, ["onnx", "report"], ["registered_model"]) as platform:
        version = step.register(agreed, folder, Path(evaluation.path), platform.mlflow_url, mlflow_run)
        lineage = ModelSpec.model_validate_json((folder / SPEC_FILE).read_bytes()).lineage
        open_log(platform.audit_log).append(
            "model.registered",
            f"{agreed.name}/{version}",
            run=run_id,
            mlflow_run=mlflow_run,
            model=file_digest(folder / MODEL_FILE),
            contract=lineage.contract,
            data=lineage.data,
            code=lineage.code,
            environment=lineage.environment,
        )
        logger.info("register: %s is version %s", agreed.name, version)
    return version
