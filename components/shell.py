"""What the KFP shell of every step does around its function: logging, lineage, the platform's addresses."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from core import lineage
from core.audit import open_log
from core.errors import FalajError
from core.platform import Platform

PIPELINE = "training"

logger = logging.getLogger("falaj")


@contextmanager
def running(
    step: str, run_id: str, contract_name: str, inputs: Sequence[str], outputs: Sequence[str]
) -> Iterator[Platform]:
    """Run one step of the training pipeline: log its start and end, emit its OpenLineage events, and record a failure.

    Args:
        step: Name of the step, such as `ingest`; loggers below `falaj` carry its own lines.
        run_id: Id of the pipeline's run.
        contract_name: Name of the contract; the datasets are named after it.
        inputs: Short names of the datasets read: `records` becomes `<contract_name>.records`.
        outputs: Short names of the datasets written.

    Yields:
        The platform's addresses from the environment.

    Raises:
        ConfigError: A variable of the platform is not set.
    """
    # KFP's executor leaves the root logger at WARNING, and kfp.local shows a step's stdout and stderr alike.
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s", force=True)
    logger.setLevel(logging.INFO)
    platform = Platform.from_environment()
    started = time.monotonic()
    with lineage.step(
        platform.lineage_log,
        PIPELINE,
        run_id,
        step,
        [f"{contract_name}.{name}" for name in inputs],
        [f"{contract_name}.{name}" for name in outputs],
    ):
        logger.info("%s: started", step)
        try:
            yield platform
        except Exception as error:
            # An unforeseen error's text may quote a record; its traceback stays in the run's log.
            reason = str(error) if isinstance(error, FalajError) else type(error).__name__
            logger.error("%s: failed: %s", step, reason)
            open_log(platform.audit_log).append(
                "pipeline.failed", contract_name, run=run_id, step=step, error=type(error).__name__
            )
            raise
    logger.info("%s: done in %.1f s", step, time.monotonic() - started)
