"""Who answers, what it costs, and exceptions: PDPL articles 7 to 12 and 21, ISO 27001 A.5.9 and A.8.6."""

from dataclasses import replace
from typing import Any

from tests.policies.mutations.world import (
    BOTH,
    CLOUD,
    PROD,
    SITE,
    SMB,
    Change,
    Mutation,
    World,
    days_ago,
    lose,
    put,
    remove,
    say,
    unsay,
)

BUDGET = "budgets/budget:Budget"
LOGGING = "kubernetes:core/v1:Namespace::logging"


def _untagged(*tags: str) -> Change:
    def change(world: World) -> None:
        import json

        inputs = world.inputs("pulumi:providers:aws", "aws")
        document = json.loads(inputs["defaultTags"])
        for tag in tags:
            del document["tags"][tag]
        inputs["defaultTags"] = json.dumps(document)

    return change


def _exception(**changes: Any) -> Change:
    def change(world: World) -> None:
        at = next(index for index, one in enumerate(world.exceptions) if one.entry.resource == LOGGING)
        found = world.exceptions[at]
        world.exceptions[at] = replace(found, entry=found.entry.model_copy(update=changes))

    return change


def _unneeded(world: World) -> None:
    found = next(one for one in world.exceptions if one.entry.resource == LOGGING)
    entry = found.entry.model_copy(update={"resource": "kubernetes:core/v1:Namespace::serving"})
    world.exceptions.append(replace(found, entry=entry, place="exceptions/more.yaml:1"))


def _excused(world: World) -> None:
    world.exceptions = [one for one in world.exceptions if one.entry.resource != LOGGING]


def _moved(world: World) -> None:
    for at, one in enumerate(world.exceptions):
        if one.entry.resource == LOGGING:
            world.exceptions[at] = replace(one, entry=one.entry.model_copy(update={"stacks": (SMB,)}))


PEOPLE = [
    Mutation(
        "governance-without-officer",
        "pdpl-10-12",
        "No data protection officer is named",
        BOTH,
        unsay("governance contacts data_protection_officer"),
    ),
    Mutation(
        "governance-assessment-expired",
        "pdpl-21",
        "The stack's impact assessment is out of date",
        BOTH,
        say("governance dpia", {"reference": "DPIA-2024-001", "expires": days_ago(1).isoformat()}),
    ),
    Mutation(
        "governance-breach-told-late",
        "gdpr-33",
        "A breach is told after ten days",
        BOTH,
        say("governance breach_notification_hours", 240),
    ),
    Mutation(
        "resources-without-owner", "ia-t1.2.1", "Resources do not say who answers for them", CLOUD, _untagged("owner")
    ),
    Mutation(
        "resources-without-cost-centre", "iso-8.6", "Resources do not say who pays", CLOUD, _untagged("cost-centre")
    ),
    Mutation(
        "resources-without-purpose", "pdpl-7-8", "Resources do not say what they are for", CLOUD, _untagged("purpose")
    ),
    Mutation(
        "resources-without-environment",
        "ia-t3.2.5",
        "Resources do not say of which environment they are",
        CLOUD,
        _untagged("environment"),
    ),
    Mutation(
        "resources-without-tags",
        "iso-5.9",
        "Resources have no tags",
        CLOUD,
        lose("pulumi:providers:aws", "aws", "defaultTags"),
    ),
    Mutation(
        "account-any",
        "iso-8.32",
        "The program may run in any account",
        CLOUD,
        lose("pulumi:providers:aws", "aws", "allowedAccountIds"),
    ),
    Mutation(
        "pool-machines-untagged",
        "iso-5.9",
        "Machines of a pool have no owner",
        CLOUD,
        lose("k8s/karpenter.k8s.aws/v1:EC2NodeClass", "services-class", "spec tags owner"),
    ),
]
MONEY = [
    Mutation("budget-gone", "iso-8.6", "Nothing watches the bill", CLOUD, remove(BUDGET, "monthly")),
    Mutation(
        "budget-tells-no-one",
        "iso-8.6",
        "A budget that is spent tells no one",
        CLOUD,
        lose(BUDGET, "monthly", "notifications"),
    ),
    Mutation(
        "budget-above-the-agreed",
        "iso-8.6",
        "The budget watched is above the one agreed",
        (PROD,),
        put(BUDGET, "monthly", "limitAmount", "999999.00"),
    ),
    Mutation(
        "cost-jump-unseen",
        "iso-8.6",
        "No one is told of a sudden cost",
        CLOUD,
        remove("costexplorer/anomalySubscription:AnomalySubscription", "services"),
    ),
    Mutation(
        "cost-above-budget",
        "iso-8.6",
        "What is declared costs more than the budget",
        (PROD,),
        say("governance budget monthly_usd", 1000),
    ),
    Mutation(
        "cost-of-database",
        "iso-8.6",
        "A database of sixteen times the size breaks the budget",
        (PROD,),
        put("rds/instance:Instance", "postgresql", "instanceClass", "db.r6g.16xlarge"),
    ),
    Mutation(
        "cost-of-system-nodes",
        "iso-8.6",
        "Six hundred system nodes break the budget",
        (PROD,),
        put("eks/nodeGroup:NodeGroup", "system", "scalingConfig", {"desiredSize": 600, "maxSize": 600, "minSize": 600}),
    ),
    Mutation(
        "cost-of-old-version",
        "iso-8.8",
        "An old version is kept at six times the price",
        CLOUD,
        put("eks/cluster:Cluster", "cluster", "upgradePolicy supportType", "EXTENDED"),
    ),
]
EXCEPTIONS = [
    Mutation("exception-expired", "iso-8.9", "An exception is out of date", BOTH, _exception(expires=days_ago(1))),
    Mutation("exception-not-needed", "iso-8.9", "An exception excuses what is not wrong", (PROD, SITE), _unneeded),
    Mutation("exception-withdrawn", "iso-8.9", "What was excused is so no longer", BOTH, _excused),
    Mutation("exception-for-another-stack", "iso-8.9", "What is wrong is excused elsewhere alone", (PROD,), _moved),
]
