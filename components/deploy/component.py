"""KFP shell of the deploy step."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def deploy(run_id: str, version: int, contract: dsl.Input[dsl.Artifact], onnx: dsl.Input[dsl.Artifact]) -> None:
    """Put a registered model live; see components.deploy.step.deploy."""
    from pathlib import Path

    from components.deploy import step
    from components.shell import logger, running
    from core.audit import open_log
    from core.contract import load_contract
    from core.digest import file_digest
    from core.model_spec import MODEL_FILE, SPEC_FILE, ModelSpec

    agreed = load_contract(contract.path)
    folder = Path(onnx.path)
    with running("deploy", run_id, agreed.name, ["onnx"], ["live"]) as platform:
        live = step.deploy(
            agreed, folder, version, platform.model_repository, platform.runtime_url, platform.mlflow_url
        )
        lineage = ModelSpec.model_validate_json((folder / SPEC_FILE).read_bytes()).lineage
        open_log(platform.audit_log).append(
            "model.deployed",
            f"{agreed.name}/{version}",
            run=run_id,
            version=live.live,
            previous=live.previous,
            model=file_digest(folder / MODEL_FILE),
            contract=lineage.contract,
            data=lineage.data,
            code=lineage.code,
            environment=lineage.environment,
        )
        logger.info("deploy: version %s of %s answers, previous: %s", live.live, agreed.name, live.previous or "none")
