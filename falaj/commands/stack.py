"""`falaj up`, `falaj down` and `falaj pulumi`: the local stack through the Pulumi engine."""

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import ConfigError, FalajError
from falaj import console, environment
from falaj.commands import run as training
from tools.engine import engine_environment

if TYPE_CHECKING:
    from core.audit import AuditLog

STACK = "local"
SAMPLE = "employment"


def up(
    config: Annotated[
        Path | None, typer.Option(help="A stack file to use in place of stacks/Pulumi.local.yaml.")
    ] = None,
    train: Annotated[
        bool, typer.Option(help="Train and deploy the sample use case where that is not done yet.")
    ] = True,
) -> None:
    """Bring up the local environment, train the sample use case and ask it for a prediction."""
    from core.audit import open_log
    from core.digest import code_digest, environment_digest

    file = ["--config-file", str(config.resolve())] if config else []
    _pulumi("stack", "select", "--create", STACK, quiet=True)
    # Without the refresh, a machine that was restarted would look as if everything still ran.
    _pulumi("up", "--stack", STACK, "--yes", "--skip-preview", "--refresh", *file)
    running = environment.load()
    open_log(running.platform.audit_log).append(
        "environment.up", STACK, code=code_digest(), environment=environment_digest()
    )
    if train:
        # Imported where it is needed: it brings pandas, which takes longer than most commands.
        from falaj import sample

        training.run(SAMPLE, if_changed=True)
        sample.show(running, SAMPLE)
    console.say("")
    for name, service in sorted(running.services.items()):
        console.say(f"  {name:<16} {service.url}")
    falaj = "falaj" if shutil.which("falaj") else ".venv/bin/falaj"
    console.say(f"\nNext: [bold]{falaj} status[/], [bold]{falaj} run housing[/], [bold]{falaj} --help[/]")
    console.say("To stop and remove it: [bold]make down[/]")


def down(
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Delete models, features, logs, lineage and the audit log too.")
    ] = False,
) -> None:
    """Stop and remove every service; what they stored is kept unless asked otherwise."""
    log = _audit_log()
    if (environment.home() / "state").is_dir():
        _pulumi("destroy", "--stack", STACK, "--yes", "--skip-preview", "--refresh")
    if delete_data:
        _delete(environment.home())
        return
    if log is not None:
        log.append("environment.down", STACK)
    console.say(f"data is kept in {environment.home()}")


def _delete(folder: Path) -> None:
    if not folder.exists():
        console.say(f"nothing to delete: there is no {folder}")
        return
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise FalajError(
            f"{error.filename} was not deleted ({error.strerror}): free it, and delete {folder}"
        ) from error
    console.say(f"deleted {folder}")


def _audit_log() -> "AuditLog | None":
    """None where no environment is up."""
    from core.audit import open_log

    try:
        return open_log(environment.load().platform.audit_log)
    except ConfigError:
        return None


def engine(context: typer.Context) -> None:
    """Run the Pulumi engine on the local stack: `falaj pulumi preview`, `falaj pulumi refresh`."""
    raise typer.Exit(_run(context.args).returncode)


def _pulumi(*arguments: str, quiet: bool = False) -> None:
    done = _run([*arguments, "--non-interactive"], quiet)
    if done.returncode != 0:
        output = f"\n{done.stderr.strip()}" if quiet else ", see above"
        raise FalajError(f"`pulumi {' '.join(arguments)}` failed{output}")


def _run(arguments: list[str], quiet: bool = False) -> subprocess.CompletedProcess[str]:
    (environment.home() / "state").mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        ["pulumi", *arguments],
        cwd=environment.ROOT,
        env=engine_environment(),
        check=False,
        capture_output=quiet,
        text=True,
    )
