"""`falaj preflight`: what a stack expects to find before it is brought up, and whether the account has it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError, FalajError
from falaj import console
from falaj.commands import plan
from falaj.environment import ROOT

if TYPE_CHECKING:
    from infra.config import StackConfig
    from infra.plan import Graph


def preflight(
    stack: Annotated[str, typer.Argument(help="Name of the stack: that of stacks/Pulumi.<stack>.yaml.")],
    account: Annotated[
        bool, typer.Option("--account", help="Ask the AWS account, by the credentials of this shell.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """List what a stack needs and does not make: secrets and, on AWS, quotas and roles. Nothing is changed."""
    from infra.config import KEY, Aws, Local, parse_config
    from infra.plan import PROJECT, read_stack
    from infra.substrates.aws.quotas import needs, service_roles

    settings = parse_config(read_stack(ROOT, stack)[f"{PROJECT}:{KEY}"], stack)
    if isinstance(settings.substrate, Local):
        raise ConfigError("the stack local needs nothing but this machine: `falaj up` says what is missing")
    secrets = expected_secrets(plan.graph(stack))
    aws = settings.substrate if isinstance(settings.substrate, Aws) else None
    quotas = needs(settings, aws) if aws else []
    roles = service_roles(aws) if aws else {}
    if as_json:
        console.result(
            {
                "secrets": secrets,
                "quotas": [[need.service, need.code, need.name, need.amount, need.setting] for need in quotas],
                "roles": roles,
            }
        )
    else:
        where = "Secrets Manager" if aws else "the site's secret store"
        console.say(f"Secrets to put into {where} before the first `pulumi up`:")
        console.table(["secret", "keys"], [[name, ", ".join(keys)] for name, keys in secrets.items()])
        if aws:
            console.say("\nQuotas that the stack needs when it has grown to its limits:")
            rows = [[need.service, need.code, need.name, f"{need.amount:g}", need.setting] for need in quotas]
            console.table(["service", "code", "quota", "amount", "setting"], rows)
            console.say("\nRoles of AWS's own services:")
            console.table(["role", "service"], [[name, service] for name, service in roles.items()])
    if account:
        _ask(settings, list(secrets), as_json)


def expected_secrets(graph: "Graph") -> dict[str, list[str]]:
    """The secrets that the stack reads and does not make, by name, each with its keys."""
    made = {
        resource.inputs["name"] for resource in graph.resources if resource.type == "aws:secretsmanager/secret:Secret"
    }
    found: dict[str, set[str]] = {}
    for resource in graph.resources:
        if resource.type.endswith(":ExternalSecret"):
            for entry in resource.inputs["spec"]["data"]:
                remote = entry["remoteRef"]
                if remote["key"] not in made:
                    found.setdefault(remote["key"], set()).add(remote["property"])
    return {name: sorted(found[name]) for name in sorted(found)}


def _ask(settings: "StackConfig", secrets: list[str], as_json: bool) -> None:
    import boto3

    from infra.config import Aws
    from infra.substrates.aws.preflight import obstacles

    if not isinstance(settings.substrate, Aws):
        raise ConfigError("--account asks AWS, and substrate.kind is kubernetes: leave it out")
    with console.working(f"asking account {settings.substrate.account_id}"):
        # Typed by the name of each service, which is one of several here.
        session: Any = boto3.Session(region_name=settings.substrate.region)
        found = list(obstacles(settings, settings.substrate, secrets, session.client))
    if found:
        raise FalajError("the account is not ready:\n" + "\n".join(f"  {obstacle}" for obstacle in found))
    if not as_json:
        console.say("\nThe account has all of it.")
