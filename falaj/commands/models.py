"""`falaj models` and `falaj rollback`: what is registered, what is live, and the way back."""

from typing import Annotated, Any

import typer

from falaj import console, environment, repository

HOLDOUT = "holdout_"
"""Prefix of the metrics that the evaluation logs for the held-out rows."""


def models(
    model: Annotated[str | None, typer.Argument(help="Show this model alone, with the columns it takes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every registered version, which one is live, and how well it did."""
    from components.tracking import tracking

    running = environment.load()
    found: list[dict[str, Any]] = []
    with tracking(running.platform.mlflow_url) as client:
        names = [model] if model else sorted(entry.name for entry in client.search_registered_models())
        for name in names:
            aliases = client.get_registered_model(name).aliases
            for version in client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"]):
                metrics = client.get_run(version.run_id).data.metrics if version.run_id else {}
                state = sorted(alias for alias, number in aliases.items() if int(number) == int(version.version))
                found.append({"name": name, "version": int(version.version), "state": state, "metrics": metrics})
    columns = (
        {tensor.name: list(tensor.columns) for tensor in repository.spec(running, model).inputs}
        if model and model in repository.models(running)
        else None
    )
    if as_json:
        console.result({"versions": found, "inputs": columns})
        return
    rows = [
        [
            str(entry["name"]),
            str(entry["version"]),
            ", ".join(entry["state"]) or "-",
            "  ".join(
                f"{key.removeprefix(HOLDOUT)} {value:.4g}"
                for key, value in sorted(entry["metrics"].items())
                if key.startswith(HOLDOUT)
            ),
        ]
        for entry in found
    ]
    console.table(["model", "version", "state", "held-out metrics"], rows)
    for tensor, names in (columns or {}).items():
        console.out.print(f"\n{tensor} takes the columns, in this order: {', '.join(names)}")


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Let the previous version of a model answer again, without a dropped request."""
    from components.deploy.step import set_aliases
    from core.audit import open_log
    from serving import rollout

    running = environment.load()
    platform = running.platform
    before = repository.live(running, model)
    after = rollout.rollback(platform.model_repository, model, platform.runtime_url)
    set_aliases(model, after, platform.mlflow_url)
    open_log(platform.audit_log).append(
        "model.rolled_back", f"{model}/{after.live}", version=after.live, replaced=before.live
    )
    if as_json:
        console.result({"model": model, "live": after.live, "previous": after.previous})
    else:
        console.say(f"[green]{model} version {after.live} is live[/]; version {before.live} stays warm")
