"""How the rules of `policies/` are applied to a stack; `policies/settings.py` reads it too."""

from typing import Annotated, Literal

from pydantic import Field

from infra.config.model import Model

RuleId = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
"""`falaj check --rules` lists them."""
Domain = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z]{2,63}$", max_length=253)]


class Policies(Model):
    """Rules that a stack is checked by."""

    advisory: tuple[RuleId, ...] = ()
    """Rules that report and let pass; all others fail the check, and stop `pulumi up` with the policy pack."""
    profiles: tuple[Literal["adgm", "bank", "difc", "health"], ...] = ()
    """Laws of free zones and sectors that the stack is under, beside the federal ones."""
    domains: tuple[Domain, ...] = ("ae",)
    """Domains whose hosts the site confirms to stand in the country."""
