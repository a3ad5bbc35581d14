"""The trails of an environment on this machine."""

import json
from pathlib import Path

import pyarrow.parquet as parquet

from core.audit import open_log
from core.errors import AuditError
from core.model_spec import LIVE_FILE, MODEL_FILE, SPEC_FILE, Live, ModelSpec
from verify.asked import Each
from verify.local import Local


def test_audit_log(each: Each, local: Local) -> None:
    """Every record of the audit log follows from the one before it."""

    def judge(place: str) -> str | None:
        try:
            open_log(place).verify()
        except AuditError as error:
            return str(error)
        return None

    log = Path(local.environment.platform.audit_log)
    # Nothing is recorded before something is done; that what answers was recorded, the next check asks.
    each([str(log)] if log.exists() and log.stat().st_size else [], judge)


def test_deployments_were_recorded(each: Each, local: Local) -> None:
    """Every version that answers was recorded when it was deployed, or gone back to."""
    events = ("model.deployed", "model.rolled_back")
    try:
        told = {
            record.subject
            for record in open_log(local.environment.platform.audit_log).records()
            if record.event in events
        }
    except AuditError:
        told = set()
    each(
        [f"{model}/{_live(file).live}" for model, file in _live_files(local).items()],
        lambda version: None if version in told else "the audit log has no record of it",
    )


def test_lineage(each: Each, local: Local) -> None:
    """Every event of the lineage log is whole."""

    def judge(path: Path) -> list[str]:
        faults = []
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            try:
                missing = {"eventType", "job", "run"} - json.loads(line).keys()
            except ValueError:
                missing = {"all"}
            if missing:
                faults.append(f"line {number} lacks {', '.join(sorted(missing))}")
        return faults

    file = Path(local.environment.platform.lineage_log)
    each({file.name: file} if file.exists() else {}, judge)


def test_inference_log_names_no_one(each: Each, local: Local) -> None:
    """No file of the inference log has the column of a person's identifier."""
    folder = local.data / "inference-log"
    sources = {model: _spec(file, _live(file).live).features for model, file in _live_files(local).items()}
    entities = {model: source.entity for model, source in sources.items() if source is not None}

    def judge(item: tuple[str, Path]) -> str | None:
        return f"has the column {item[0]}" if item[0] in parquet.read_schema(item[1]).names else None

    each(
        {
            str(file.relative_to(folder)): (entity, file)
            for model, entity in entities.items()
            for file in folder.glob(f"{model}/**/*.parquet")
        },
        judge,
    )


def test_models_have_their_files(each: Each, local: Local) -> None:
    """The version that answers, and the one to go back to, have their graph and specification."""
    wanted: dict[str, Path] = {}
    for model, file in _live_files(local).items():
        live = _live(file)
        for version in filter(None, (live.live, live.previous)):
            wanted |= {
                f"{model}/{version}/{name}": file.parent / str(version) / name for name in (MODEL_FILE, SPEC_FILE)
            }
    each(wanted, lambda path: None if path.is_file() and path.stat().st_size else "is missing or empty")


def _live_files(local: Local) -> dict[str, Path]:
    return {file.parent.name: file for file in sorted((local.data / "models").glob(f"*/{LIVE_FILE}"))}


def _live(file: Path) -> Live:
    return Live.model_validate_json(file.read_bytes())


def _spec(file: Path, version: int) -> ModelSpec:
    return ModelSpec.model_validate_json((file.parent / str(version) / SPEC_FILE).read_bytes())
