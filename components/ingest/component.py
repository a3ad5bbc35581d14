"""KFP shell of the ingest step."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ingest(
    contract_uri: str,
    data_uri: str,
    run_id: str,
    contract: dsl.Output[dsl.Artifact],
    records: dsl.Output[dsl.Dataset],
    refused: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.Artifact],
) -> None:
    """Read a file against its contract; see components.ingest.step.ingest."""
    from pathlib import Path

    from components.ingest import step
    from components.shell import logger, running
    from core.audit import open_log
    from core.contract import load_contract

    name = load_contract(contract_uri).name
    with running("ingest", run_id, name, ["source"], ["records", "refused"]) as platform:
        out = step.IngestOutputs(
            contract=Path(contract.path),
            records=Path(records.path),
            refused=Path(refused.path),
            report=Path(report.path),
        )
        result = step.ingest(contract_uri, data_uri, platform.pseudonym_key_file, out)
        open_log(platform.audit_log).append(
            "data.ingested",
            name,
            run=run_id,
            data=result.data_digest,
            contract=result.contract_digest,
            consent=result.consent_digest,
            rows_read=result.rows_read,
            rows_kept=result.rows_kept,
            rows_refused=result.rows_refused,
        )
        logger.info(
            "ingest: %s of %s rows kept, %s refused (%s), columns dropped: %s",
            result.rows_kept,
            result.rows_read,
            result.rows_refused,
            ", ".join(f"{reason}: {count}" for reason, count in result.refused.items()) or "no reason",
            ", ".join(result.dropped_columns) or "none",
        )
