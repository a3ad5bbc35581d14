"""The command line `falaj`."""

import sys

import typer

from core.errors import FalajError
from falaj import console
from falaj.commands import (
    audit,
    backup,
    check,
    compliance,
    cost,
    logs,
    models,
    plan,
    predict,
    preflight,
    rehearse,
    restore,
    run,
    stack,
    status,
    vendor,
    verify,
)

app = typer.Typer(
    name="falaj",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Falaj: a machine-learning platform for the UAE, as code.",
)
app.command()(stack.up)
app.command()(stack.down)
app.command(
    "pulumi", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)(stack.engine)
app.command()(plan.plan)
app.command()(preflight.preflight)
app.command()(rehearse.rehearse)
app.command()(verify.verify)
app.command()(vendor.vendor)
app.command()(check.check)
app.command()(compliance.compliance)
app.command()(cost.cost)
app.command()(status.status)
app.command()(run.run)
app.command()(predict.predict)
app.command("models")(models.models)
app.command()(models.rollback)
app.command()(backup.backup)
app.command()(restore.restore)
app.add_typer(audit.app, name="audit")
app.command()(logs.logs)


def main() -> None:
    """Run the command line; an error meant for a person is shown without a traceback."""
    try:
        app()
    except FalajError as error:
        console.err.print(f"[bold red]error:[/] {console.escape(str(error))}", soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
