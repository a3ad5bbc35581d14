"""A stack under one fault after another."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from core.errors import ConfigError
from rehearsal import leftovers, notes
from rehearsal.engine import Engine
from rehearsal.faults.catalogue import FAULTS
from rehearsal.faults.trial import Trial, proxied
from rehearsal.kubernetes.api import Api
from rehearsal.kubernetes.scheduling import site_of
from rehearsal.sequence import KEY, NO_ACCOUNT, alone, config_of
from rehearsal.servers import running
from rehearsal.steps import Report, Steps
from tools.build import ROOT

ALL = "all"


def named(name: str) -> list[str]:
    """The faults that a name stands for.

    Raises:
        ConfigError: It is none.
    """
    if name != ALL and name not in FAULTS:
        raise ConfigError(f"no fault {name}: the faults are {', '.join(FAULTS)}, or all")
    return list(FAULTS) if name == ALL else [name]


def rehearse_faults(
    stack: str, faults: Sequence[str], home: Path, path: str, say: Callable[[str], None], *, root: Path = ROOT
) -> Report:
    """Do each fault to a stack in turn, bring it up again, look whether all is whole, and take it down.

    Args:
        faults: Names from `FAULTS`; those that cannot happen on the stack's substrate are left out.
        home, path, say, root: As for `rehearsal.sequence.rehearse`.

    Raises:
        ConfigError: There is no such stack, it is one of this machine's own, or another rehearsal of it runs.
        RehearsalError: The stack did not come out of one as it must.
    """
    config = config_of(stack, root)
    settings = config[KEY]
    if settings["substrate"]["kind"] == "local":
        raise ConfigError(f"{stack} runs on this machine: its faults are those of tests/environment")
    # What is protected is not what is looked at here, and nothing must be left.
    settings["protect"] = False
    folder = home / stack
    with alone(folder), ExitStack() as also:
        shutil.rmtree(folder, ignore_errors=True)
        # What speaks of the stack's file names it after the folder.
        own = folder / "faults" / stack
        own.mkdir(parents=True)
        say("starting moto, etcd, the API server, its controllers and its scheduler")
        account = str(settings["substrate"].get("account_id", NO_ACCOUNT))
        servers = also.enter_context(running(folder, account, path, site_of(settings)))
        seen, proxies = also.enter_context(proxied(own, servers))
        api = also.enter_context(closing(Api(servers.kubeconfig)))
        cluster = also.enter_context(closing(leftovers.Cluster(servers.kubeconfig)))
        steps = Steps(stack, own, say)
        engine = Engine(root, stack, own, say, seen.environment)
        trial = Trial(config, settings, engine, steps, proxies, api, cluster, own, also)
        for name in faults:
            fault = FAULTS[name]
            if settings["substrate"]["kind"] not in fault.on:
                continue
            say(f"{name}: {fault.text}")
            if trial.is_up and not fault.up:
                trial.down()
            elif fault.up and not trial.is_up:
                trial.up("up from nothing")
            fault.run(trial)
            trial.whole()
        trial.down()
        return Report(stack=stack, stages=steps.done, substitutes=engine.substitutes, notes=notes.read(own))
