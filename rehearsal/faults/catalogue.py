"""The faults, each of which a stack must come out of whole."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from rehearsal.aws import KINDS
from rehearsal.faults import aws, kubernetes, restart
from rehearsal.faults.effects import Freeze, cut, then
from rehearsal.faults.proxy import Call, Rule
from rehearsal.faults.trial import Trial

_MAKING = {(kind.service, kind.create.operation): kind for kind in KINDS.values()}
_FREEZE_SECONDS = 2.0
_CUT_SECONDS = 2.0
_RESTART_SECONDS = 0.5
_PATCH = "patch "
_OWNED = ("configmaps", "secrets")
"""What others may have put there before, whichever of them a stack has."""
_NODE_POOL = "kubernetes:karpenter.sh/v1:NodePool"
_FULL = "InsufficientDBInstanceCapacity"
"""https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html#API_CreateDBInstance_Errors"""
_ZONES = ("mec1-az1", "mec1-az2", "mec1-az3")
_SPREAD = re.compile(r"aws:eks/nodeGroup:NodeGroup")
"""Types that AWS takes no other subnets for without a new one."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong, and what is done about it.

    Attributes:
        up: Whether the stack is up before; otherwise nothing of it is there.
        on: Substrates on which it can happen.
    """

    text: str
    run: Callable[[Trial], None]
    up: bool = False
    on: Sequence[str] = ("aws", "kubernetes")


def _makes(call: Call) -> bool:
    """Whether a call to AWS makes a resource."""
    return (call.service, call.operation) in _MAKING


def _tells(call: Call) -> bool:
    """Whether what a call makes can be found later without its answer: it bears a name of ours, or our tags."""
    kind = _MAKING[call.service, call.operation]
    if kind.read is None or "outputs." in str([step.template for step in kind.delete]):
        return False
    return kind.tags is not None or not re.search("answer|autoname", kind.identifier)


def _applies(call: Call) -> bool:
    """Whether a call to Kubernetes makes or changes an object."""
    return call.operation.startswith(_PATCH)


def _after(count: int, matches: Callable[[Call], bool]) -> Callable[[Call], bool]:
    """Whether so many such calls were before."""
    seen = 0

    def later(call: Call) -> bool:
        nonlocal seen
        if not matches(call):
            return False
        seen += 1
        return seen > count

    return later


def _killed(trial: Trial) -> None:
    """Kill the engine among AWS's calls, among the first objects, and among the many of charts where there are any."""
    for what, count in [*([("calls", 5)] if trial.on_aws else []), ("objects", 2), ("objects", 300)]:
        matches, told = (_makes, _tells) if what == "calls" else (_applies, _applies)
        freeze = Freeze(told, _FREEZE_SECONDS)
        rule = Rule(matches=_after(count, matches), effect=freeze.effect, times=None)
        (trial.aws if what == "calls" else trial.kubernetes).rules = [rule]
        killed = trial.killed(f"up, killed after {count} {what}", freeze.full)
        trial.aws.rules, trial.kubernetes.rules = [], []
        if not killed:
            break
        removed = trial.resume()
        for item in removed:
            trial.steps.say(f"  deleted by hand: {item}")
    else:
        trial.up("up")
    trial.steps.expect(trial.up("up again", refresh=True), {})


def _busy(trial: Trial) -> None:
    """Throttle calls, hold and cut connections, and have the API server ask for patience: all are tried again."""
    busy = (HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequests", "too many requests, please try again later")
    failing = (HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", "etcdserver: leader changed")
    if trial.on_aws:
        trial.aws.rules = [
            Rule(matches=_makes, effect=cut(_CUT_SECONDS), times=2),
            Rule(matches=_makes, effect=aws.throttled, times=6),
        ]
    trial.kubernetes.rules = [
        Rule(matches=_applies, effect=kubernetes.refused(*busy, retry_after=1), times=2),
        Rule(matches=_applies, effect=kubernetes.refused(*failing, retry_after=1)),
    ]
    rules = [*trial.aws.rules, *trial.kubernetes.rules]
    trial.up("up, throttled and cut off")
    trial.steps.check(
        [f"a rule met {len(rule.met)} calls of {rule.times}" for rule in rules if len(rule.met) != rule.times]
    )


def _refused(trial: Trial) -> None:
    """Take a right away in AWS, then one in the cluster; then an object there is another's."""
    if trial.on_aws:
        action = "iam:CreateRole"
        said = f"User: arn:aws:iam::123456789012:user/rehearsal is not authorized to perform: {action}"
        rule = Rule(
            matches=lambda call: (call.service, call.operation) == ("iam", "CreateRole"),
            effect=aws.refused("AccessDenied", said),
            times=None,
        )
        trial.aws.rules = [rule]
        trial.failing("up without iam:CreateRole", {f"not authorized to perform: {action}": rule})
        trial.aws.rules = []
    forbidden = (
        'networkpolicies.networking.k8s.io is forbidden: User "rehearsal" cannot patch resource "networkpolicies"'
    )
    theirs = 'Apply failed with 1 conflict: conflict with "kubectl-edit"'
    rules = {
        forbidden: Rule(
            matches=lambda call: call.operation == f"{_PATCH}networkpolicies",
            effect=kubernetes.refused(HTTPStatus.FORBIDDEN, "Forbidden", forbidden),
            times=None,
        ),
        theirs: Rule(
            matches=lambda call: call.operation.removeprefix(_PATCH) in _OWNED,
            effect=kubernetes.refused(HTTPStatus.CONFLICT, "Conflict", theirs),
        ),
    }
    # One after another: the engine begins nothing more once something failed.
    for name, (text, rule) in zip(("a right in the cluster", "an object of its own"), rules.items(), strict=True):
        trial.kubernetes.rules = [rule]
        trial.failing(f"up without {name}", {text: rule})
    trial.kubernetes.rules = []
    trial.up("up with all rights")


def _restarted(trial: Trial) -> None:
    """Restart the API server while objects are made: what is cut off fails, and the next run makes it."""
    begun = threading.Event()
    rule = Rule(matches=_after(1, _applies), effect=then(begun, _RESTART_SECONDS))
    trial.kubernetes.rules = [rule]

    def restarted() -> None:
        begun.wait()
        if rule.met:
            command = restart.stop()
            trial.stack.enter_context(restart.again(command, trial.folder))

    restarting = threading.Thread(target=restarted)
    restarting.start()
    try:
        outcome = trial.engine.up()
    finally:
        begun.set()
        restarting.join()
    trial.steps.refused("up, the API server restarted", outcome.seconds)
    trial.steps.check([] if rule.met else ["the engine made too few objects for a restart among them"])
    trial.kubernetes.rules = []
    restart.await_ready(trial.api)
    trial.up("up")


def _capacity(trial: Trial) -> None:
    """Have no capacity for databases in a zone, and move to others: what is of no zone stays as it is."""
    zones: list[str] = trial.settings["substrate"]["zones"]
    lost = zones[-1]
    rule = Rule(
        matches=lambda call: call.operation == "CreateDBInstance" and lost in trial.settings["substrate"]["zones"],
        effect=aws.refused(_FULL, f"insufficient capacity in {lost}"),
        times=None,
    )
    trial.aws.rules = [rule]
    trial.failing(f"up, {lost} full", {_FULL: rule})
    left = [zone for zone in zones if zone != lost]
    spare = next((zone for zone in _ZONES if zone not in zones), None)
    trial.settings["substrate"]["zones"] = left if len(left) > 1 else [*left, spare]
    trial.engine.configure(trial.config)
    outcome = trial.up(f"up without {lost}")
    moved = {urn: what for urn, what in outcome.done.items() if what in ("replace", "delete")}
    wrong = [f"{what} of {urn}" for urn, what in moved.items() if lost not in urn and not _SPREAD.search(urn)]
    trial.steps.check(wrong)


def _pool(trial: Trial) -> None:
    """Delete a NodePool by hand, which is made again; then give a pool another name, which moves it alone."""
    pools = [each for each in trial.engine.resources() if each["type"] == _NODE_POOL]
    if not pools:
        trial.steps.say("the stack has no pools of its own")
        return
    trial.api.delete(pools[-1]["inputs"])
    outcome = trial.up("up, a NodePool deleted", refresh=True)
    wrong = [f"{what} of {urn}" for urn, what in outcome.done.items() if urn != pools[-1]["urn"]]
    wrong += [] if outcome.done.get(pools[-1]["urn"]) == "create" else [f"{pools[-1]['urn']} was not made again"]
    trial.steps.check(wrong)
    nodes: dict[str, Any] = trial.settings["substrate"]["nodes"]
    former = next(reversed(nodes))
    nodes[f"{former}-moved"] = nodes.pop(former)
    trial.engine.configure(trial.config)
    outcome = trial.up(f"up, pool {former} renamed")
    wrong = [f"{what} of {urn}" for urn, what in outcome.done.items() if former not in urn or what == "replace"]
    wrong += [] if Counter(outcome.done.values())["delete"] else [f"nothing of {former} was deleted"]
    trial.steps.check(wrong)


FAULTS: Mapping[str, Fault] = {
    "killed": Fault(text="the engine and its providers are killed midway, several times", run=_killed),
    "busy": Fault(text="calls are throttled, held and cut off, or asked to come again", run=_busy),
    "refused": Fault(text="rights are missing in AWS and in the cluster, an object is another's", run=_refused),
    "restarted": Fault(text="the API server restarts midway", run=_restarted),
    "capacity": Fault(text="a zone is out of capacity, and the stack moves to others", run=_capacity, on=("aws",)),
    "pool": Fault(text="a node pool is deleted by hand, then moved", run=_pool, up=True),
}
