"""Who answers for a stack, what its data may be used for and kept, and what it may cost."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from infra.config.model import Days, Email, Model, Name, Percent

_MARKS = " _.:/=+-@"


def _tag(text: str) -> str:
    wrong = sorted({character for character in text if not character.isalnum() and character not in _MARKS})
    if wrong or text != text.strip():
        what = f"{wrong[0]!r} in it" if wrong else "a space at its start or end"
        raise ValueError(f"a tag cannot hold this: it has {what}; letters, digits, spaces and _.:/=+-@ may be used")
    return text


TagValue = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_tag)]
"""What a tag may hold, in any script."""


class Contacts(Model):
    """People. An address is best that of a group, which someone always reads."""

    operations: Email
    """Alarms and budgets end here."""
    security: Email
    """Findings and suspected breaches end here."""
    data_protection_officer: Email | None = None
    """Required where data are sensitive or people are profiled."""
    finance: Email | None = None
    """Required with a budget."""


class Retention(Model):
    """Days that each kind of data is kept; then it expires by itself."""

    raw: Days = 365
    """What was delivered."""
    curated: Days = 730
    """What validation has let through."""
    features: Days = 730
    """Offline features."""
    artifacts: Days = 1095
    """Models, reports and pipeline outputs."""
    inference_log: Days = 365
    """Requests to models and their answers."""
    audit: Annotated[int, Field(ge=365, le=36_500)] = 2555
    """The audit log and the cloud's own trail hold no personal data and are kept for years."""
    logs: Annotated[int, Field(ge=365, le=3653)] = 365
    """Of systems and services, a year or more."""


class Dpia(Model):
    """The data protection impact assessment that covers this stack."""

    reference: TagValue
    """Its number or title."""
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """Of the document as it was approved."""
    expires: date
    """The day from which it must have been made again."""


class Budget(Model):
    """What the stack may cost."""

    monthly_usd: Annotated[float, Field(gt=0)]
    """Of the whole stack, before tax."""
    alert_percent: tuple[Percent, ...] = Field(default=(80, 100), min_length=1)
    """Of the month's budget, spent or forecast, where the contacts are told."""
    anomaly_usd: Annotated[float, Field(gt=0)] = 50
    """Unexpected cost of a day that is reported at once."""


class Governance(Model):
    """What is not technical, and must be known before anything is created."""

    owner: TagValue
    """The person or team that answers for the stack; a tag on everything, and a label of namespaces."""
    cost_centre: TagValue
    """Who pays; a tag on everything, and a label of namespaces."""
    purpose: TagValue = "machine-learning"
    """What the data are processed for; a tag on everything, and a label of namespaces."""
    contacts: Contacts
    sensitive_data: bool = True
    """Whether data are sensitive personal data, or people are profiled."""
    retention: Retention = Retention()
    breach_notification_hours: Annotated[int, Field(ge=1, le=720)] = 72
    """From knowing of a breach to telling the authority. Whether the rules that fix it were issued is unclear."""
    record_of_processing: TagValue | None = None
    """Its entry in the controller's record of processing."""
    dpia: Dpia | None = None
    budget: Budget | None = None
    tags: Mapping[Name, TagValue] = {}
    """Tags of one's own, with other keys than owner, cost-centre, purpose, environment, data-class, retention,
    managed-by and tenant.

    Of namespaces they are labels `falaj.ae/<key>`, as the platform's are; annotations where no label can hold them.
    """

    @model_validator(mode="after")
    def _someone_is_told(self) -> Self:
        if self.sensitive_data and self.contacts.data_protection_officer is None:
            raise ValueError(
                "sensitive_data is true: name contacts.data_protection_officer, or set sensitive_data to false"
            )
        if self.budget is not None and self.contacts.finance is None:
            raise ValueError("a budget needs someone who is told: name contacts.finance, or remove budget")
        return self

    @model_validator(mode="after")
    def _tags_are_free(self) -> Self:
        taken = sorted(set(self.tags) & TAGS)
        if taken:
            raise ValueError(f"tags.{taken[0]} is set by the platform: choose another key")
        return self


TAGS = frozenset({"owner", "cost-centre", "purpose", "environment", "data-class", "retention", "managed-by", "tenant"})
"""Keys of the tags that the platform sets, and of a label of its own."""
