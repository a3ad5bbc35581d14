"""The page that an auditor reads: one file, no script, nothing fetched, in English or Arabic."""

import functools
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from policies.catalogue import Language
from policies.cost import Estimate, estimate
from policies.engine import Status
from policies.outcome import Outcome, remedy
from policies.report.evidence import by_framework, by_resource, by_rule, digest
from policies.report.wording import WORDS, reference, title
from policies.rules import BY_ID

_STATUSES = (Status.PASS, Status.FAIL, Status.EXCEPTED, Status.UNKNOWN)


def _cost(outcome: Outcome) -> Estimate | None:
    substrate = outcome.graph.settings.substrate
    return estimate(outcome.graph) if substrate is not None and substrate.kind == "aws" else None


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))


def page(outcome: Outcome, language: Language) -> str:
    """The report; the same outcome gives the same bytes."""
    governance = outcome.graph.settings.governance
    return _template().render(
        outcome=outcome,
        language=language,
        words=WORDS[language],
        statuses=_STATUSES,
        digest=digest(outcome),
        rule_count=len(by_rule(outcome)),
        frameworks=by_framework(outcome),
        resources=by_resource(outcome),
        faults=outcome.of(Status.FAIL),
        unknown=outcome.of(Status.UNKNOWN),
        title=lambda rule: title(rule, language),
        reference=lambda text: reference(text, language),
        remedy=lambda one: remedy(outcome, one),
        rule_of=BY_ID.__getitem__,
        cost=_cost(outcome),
        budget=governance.budget if governance else None,
    )
