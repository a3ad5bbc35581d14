"""KFP shell of the featurize step."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def featurize(
    run_id: str,
    contract: dsl.Input[dsl.Artifact],
    records: dsl.Input[dsl.Dataset],
    training: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.Artifact],
) -> None:
    """Write features offline and online and join the training rows; see components.featurize.step.featurize."""
    from pathlib import Path

    from components.featurize import step
    from components.shell import logger, running
    from core.contract import load_contract

    agreed = load_contract(contract.path)
    outputs = ["features.offline", "features.online", "training"]
    with running("featurize", run_id, agreed.name, ["records"], outputs) as platform:
        result = step.featurize(
            agreed, Path(records.path), platform.feature_store, platform.offline_store, Path(training.path)
        )
        Path(report.path).write_text(result.model_dump_json(indent=2) + "\n")
        logger.info(
            "featurize: %s rows offline, %s entities online%s, %s training rows",
            result.rows_offline,
            result.entities_online,
            " as before" if result.online_unchanged else "",
            result.rows_training,
        )
