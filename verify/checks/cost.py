"""What is spent."""

from verify.account import Account
from verify.asked import Each
from verify.declared import Declared, Inputs


def test_budget(each: Each, declared: Declared, aws: Account) -> None:
    """The budget is there, with the declared limit, and someone is told before it is spent."""

    def judge(inputs: Inputs) -> list[str]:
        found = aws("budgets").describe_budget(AccountId=aws.id, BudgetName=inputs["name"])["Budget"]
        told = aws("budgets").describe_notifications_for_budget(AccountId=aws.id, BudgetName=inputs["name"])
        amount = float(found["BudgetLimit"]["Amount"])
        return [
            *([] if amount == float(inputs["limitAmount"]) else [f"is {amount:.0f}, not {inputs['limitAmount']}"]),
            *([] if told.get("Notifications") else ["no one is told"]),
        ]

    each(declared.of("aws:budgets/budget:Budget"), judge)


def test_anomalies(each: Each, declared: Declared, aws: Account) -> None:
    """What is spent out of the ordinary is looked for, and someone is told."""

    def judge(name: str) -> list[str]:
        monitors = aws("ce").get_anomaly_monitors()["AnomalyMonitors"]
        subscriptions = aws("ce").get_anomaly_subscriptions()["AnomalySubscriptions"]
        arns = [one["MonitorArn"] for one in monitors if one["MonitorName"] == name]
        if not arns:
            return ["is missing"]
        told = any(set(arns) & set(one["MonitorArnList"]) and one["Subscribers"] for one in subscriptions)
        return [] if told else ["no one is told"]

    each(declared.values("aws:costexplorer/anomalyMonitor:AnomalyMonitor", "name"), judge)
