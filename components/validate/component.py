"""KFP shell of the validate step."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def validate(
    run_id: str,
    contract: dsl.Input[dsl.Artifact],
    records: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.Artifact],
) -> None:
    """Check records against contract and previous run; see components.validate.step.validate."""
    from pathlib import Path

    from components.shell import logger, running
    from components.validate import step
    from core.contract import load_contract

    agreed = load_contract(contract.path)
    with running("validate", run_id, agreed.name, ["records", "profile"], ["profile"]) as platform:
        result = step.validate(agreed, Path(records.path), platform.profiles, Path(report.path))
        for warning in result.warnings:
            logger.warning("validate: %s", warning)
        logger.info(
            "validate: %s rows obey the contract, %s columns compared with the last run, %s drifted",
            result.rows,
            len(result.distances),
            len(result.drifted),
        )
