"""What watches, records, warns and backs up."""

from typing import Any

from rehearsal.aws.kind import Kind, Read, Step


def _budget(properties: dict[str, Any]) -> None:
    """The provider's notifications hold their subscribers, AWS's lie beside them."""
    notifications = properties.pop("notifications", [])
    properties["budget"] = {
        "budgetName": properties["name"],
        "budgetType": properties.pop("budgetType"),
        "budgetLimit": {"amount": properties.pop("limitAmount"), "unit": properties.pop("limitUnit")},
        "timeUnit": properties.pop("timeUnit"),
    }
    properties["newBudget"] = properties["budget"]
    properties["notificationsWithSubscribers"] = [
        {
            "notification": {
                key: item[key] for key in ("notificationType", "comparisonOperator", "threshold", "thresholdType")
            },
            "subscribers": [
                {"subscriptionType": kind, "address": address}
                for kind, addresses in (("EMAIL", "subscriberEmailAddresses"), ("SNS", "subscriberSnsTopicArns"))
                for address in item.get(addresses, [])
            ],
        }
        for item in notifications
    ]


def _dimensions(properties: dict[str, Any]) -> None:
    dimensions = properties.get("dimensions", {})
    properties["dimensions"] = [{"name": key, "value": value} for key, value in dimensions.items()]


def _one_target(properties: dict[str, Any]) -> None:
    properties["targets"] = [{"id": properties["targetId"], "arn": properties.pop("arn")}]


_TOPIC = {"TopicArn": "{id}"}
KINDS = {
    "aws:cloudwatch/logGroup:LogGroup": Kind(
        service="logs",
        create=Step(operation="CreateLogGroup", takes=["name", "kmsKeyId"]),
        identifier="{name}",
        renames={"name": "logGroupName"},
        tags="tags",
        after=[Step(operation="PutRetentionPolicy", takes=["retentionInDays"], template={"logGroupName": "{name}"})],
        update=[Step(operation="AssociateKmsKey", takes=["kmsKeyId"], template={"logGroupName": "{name}"})],
        replaced=["name"],
        outputs={"arn": "arn:aws:logs:{region}:{account}:log-group:{name}"},
        read=Read(
            operation="DescribeLogGroups",
            template={"logGroupNamePrefix": "{name}"},
            path="logGroups[?logGroupName=='{name}']|[0]",
            without=["storedBytes"],
        ),
        delete=[Step(operation="DeleteLogGroup", template={"logGroupName": "{name}"})],
    ),
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy": Kind(
        service="logs",
        create=Step(operation="PutResourcePolicy", takes=None),
        identifier="{policyName}",
        update=[Step(operation="PutResourcePolicy", takes=None)],
        replaced=["policyName"],
        read=Read(
            operation="DescribeResourcePolicies",
            template={},
            path="resourcePolicies[?policyName=='{policyName}']|[0]",
            without=["lastUpdatedTime"],
        ),
        delete=[Step(operation="DeleteResourcePolicy", template={"policyName": "{policyName}"})],
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Kind(
        service="cloudwatch",
        create=Step(operation="PutMetricAlarm", takes=None),
        identifier="{name}",
        renames={"name": "AlarmName"},
        tags="Tags",
        prepare=_dimensions,
        update=[Step(operation="PutMetricAlarm", takes=None)],
        replaced=["name"],
        outputs={"arn": "arn:aws:cloudwatch:{region}:{account}:alarm:{name}"},
        read=Read(
            operation="DescribeAlarms",
            template={"AlarmNames": ["{id}"]},
            path="MetricAlarms[0]",
            without=[
                "StateValue",
                "StateReason",
                "StateReasonData",
                "StateUpdatedTimestamp",
                "StateTransitionedTimestamp",
            ],
        ),
        delete=[Step(operation="DeleteAlarms", template={"AlarmNames": ["{id}"]})],
    ),
    "aws:cloudwatch/eventRule:EventRule": Kind(
        service="events",
        create=Step(operation="PutRule", takes=None),
        identifier="{name}",
        tags="Tags",
        update=[Step(operation="PutRule", takes=None)],
        replaced=["name"],
        outputs={"arn": "=answer.RuleArn"},
        read=Read(operation="DescribeRule", template={"Name": "{id}"}, path="@"),
        delete=[Step(operation="DeleteRule", template={"Name": "{id}"})],
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Kind(
        service="events",
        create=Step(operation="PutTargets", takes=None),
        identifier="{rule}-{targetId}",
        ignored=["targetId"],
        prepare=_one_target,
        update=[Step(operation="PutTargets", template={"Rule": "{rule}"}, takes=["targets"])],
        replaced=["rule", "targetId"],
        read=Read(operation="ListTargetsByRule", template={"Rule": "{rule}"}, path="Targets[?Id=='{targetId}']|[0]"),
        delete=[Step(operation="RemoveTargets", template={"Rule": "{rule}", "Ids": ["{targetId}"]})],
    ),
    "aws:sns/topic:Topic": Kind(
        service="sns",
        create=Step(
            operation="CreateTopic", template={"Name": "{name}", "Attributes": {"KmsMasterKeyId": "{kmsMasterKeyId}"}}
        ),
        identifier="=answer.TopicArn",
        tags="Tags",
        replaced=["name"],
        outputs={"arn": "{id}"},
        read=Read(
            operation="GetTopicAttributes",
            template=_TOPIC,
            path="Attributes",
            without=["Policy", "SubscriptionsConfirmed", "SubscriptionsPending", "SubscriptionsDeleted"],
        ),
        delete=[Step(operation="DeleteTopic", template=_TOPIC)],
    ),
    "aws:sns/topicPolicy:TopicPolicy": Kind(
        service="sns",
        create=Step(
            operation="SetTopicAttributes",
            template={"TopicArn": "{arn}", "AttributeName": "Policy", "AttributeValue": "{policy}"},
        ),
        identifier="{arn}",
        update=[
            Step(
                operation="SetTopicAttributes",
                takes=["policy"],
                template={"TopicArn": "{arn}", "AttributeName": "Policy", "AttributeValue": "{policy}"},
            )
        ],
        replaced=["arn"],
        read=Read(operation="GetTopicAttributes", template=_TOPIC, path="Attributes.Policy"),
    ),
    "aws:sns/topicSubscription:TopicSubscription": Kind(
        service="sns",
        create=Step(operation="Subscribe", takes=None, template={"ReturnSubscriptionArn": True}),
        identifier="=answer.SubscriptionArn",
        renames={"topic": "TopicArn"},
        replaced=["topic", "endpoint", "protocol"],
        outputs={"arn": "{id}"},
        read=Read(operation="GetSubscriptionAttributes", template={"SubscriptionArn": "{id}"}, path="Attributes"),
        delete=[Step(operation="Unsubscribe", template={"SubscriptionArn": "{id}"})],
    ),
    "aws:sqs/queue:Queue": Kind(
        service="sqs",
        create=Step(
            operation="CreateQueue",
            template={
                "QueueName": "{name}",
                "Attributes": {
                    "KmsMasterKeyId": "{kmsMasterKeyId}",
                    "MessageRetentionPeriod": "=to_string(messageRetentionSeconds)",
                },
            },
        ),
        identifier="=answer.QueueUrl",
        tags="tags",
        replaced=["name"],
        outputs={"arn": "arn:aws:sqs:{region}:{account}:{name}", "url": "{id}"},
        read=Read(
            operation="GetQueueAttributes",
            template={"QueueUrl": "{id}", "AttributeNames": ["All"]},
            path="Attributes",
            without=["Policy", "LastModifiedTimestamp"],
        ),
        delete=[Step(operation="DeleteQueue", template={"QueueUrl": "{id}"})],
    ),
    "aws:sqs/queuePolicy:QueuePolicy": Kind(
        service="sqs",
        create=Step(
            operation="SetQueueAttributes", template={"QueueUrl": "{queueUrl}", "Attributes": {"Policy": "{policy}"}}
        ),
        identifier="{queueUrl}",
        update=[
            Step(
                operation="SetQueueAttributes",
                takes=["policy"],
                template={"QueueUrl": "{queueUrl}", "Attributes": {"Policy": "{policy}"}},
            )
        ],
        replaced=["queueUrl"],
        read=Read(
            operation="GetQueueAttributes",
            template={"QueueUrl": "{id}", "AttributeNames": ["Policy"]},
            path="Attributes.Policy",
        ),
        delete=[
            Step(operation="SetQueueAttributes", template={"QueueUrl": "{queueUrl}", "Attributes": {"Policy": ""}})
        ],
    ),
    "aws:budgets/budget:Budget": Kind(
        service="budgets",
        create=Step(
            operation="CreateBudget",
            takes=["budget", "notificationsWithSubscribers"],
            template={"AccountId": "{account}"},
        ),
        identifier="{account}:{name}",
        tags="ResourceTags",
        prepare=_budget,
        ignored=["budget"],
        update=[Step(operation="UpdateBudget", takes=["newBudget"], template={"AccountId": "{account}"})],
        replaced=["name", "notifications"],
        outputs={"arn": "arn:aws:budgets::{account}:budget/{name}"},
        read=Read(
            operation="DescribeBudget",
            template={"AccountId": "{account}", "BudgetName": "{name}"},
            path="Budget",
            without=["CalculatedSpend", "LastUpdatedTime", "TimePeriod"],
        ),
        delete=[Step(operation="DeleteBudget", template={"AccountId": "{account}", "BudgetName": "{name}"})],
    ),
    "aws:costexplorer/anomalyMonitor:AnomalyMonitor": Kind(
        service="ce",
        create=Step(operation="CreateAnomalyMonitor", takes=None, nested="AnomalyMonitor"),
        identifier="=answer.MonitorArn",
        renames={"name": "MonitorName"},
        tags="ResourceTags",
        replaced=["monitorDimension", "monitorType", "name"],
        outputs={"arn": "{id}"},
        read=Read(operation="GetAnomalyMonitors", template={"MonitorArnList": ["{id}"]}, path="AnomalyMonitors[0]"),
        delete=[Step(operation="DeleteAnomalyMonitor", template={"MonitorArn": "{id}"})],
    ),
    "aws:costexplorer/anomalySubscription:AnomalySubscription": Kind(
        service="ce",
        create=Step(operation="CreateAnomalySubscription", takes=None, nested="AnomalySubscription"),
        identifier="=answer.SubscriptionArn",
        renames={"name": "SubscriptionName", "monitorArnLists": "MonitorArnList"},
        tags="ResourceTags",
        update=[
            Step(
                operation="UpdateAnomalySubscription",
                takes=["frequency", "subscribers", "thresholdExpression"],
                template={"SubscriptionArn": "{id}"},
            )
        ],
        replaced=["name", "monitorArnLists"],
        outputs={"arn": "{id}"},
        read=Read(
            operation="GetAnomalySubscriptions",
            template={"SubscriptionArnList": ["{id}"]},
            path="AnomalySubscriptions[0]",
        ),
        delete=[Step(operation="DeleteAnomalySubscription", template={"SubscriptionArn": "{id}"})],
    ),
    "aws:cfg/recorder:Recorder": Kind(
        service="config",
        create=Step(operation="PutConfigurationRecorder", takes=None, nested="ConfigurationRecorder"),
        identifier="{name}",
        update=[Step(operation="PutConfigurationRecorder", takes=None, nested="ConfigurationRecorder")],
        replaced=["name"],
        read=Read(
            operation="DescribeConfigurationRecorders",
            template={"ConfigurationRecorderNames": ["{id}"]},
            path="ConfigurationRecorders[0]",
        ),
        delete=[Step(operation="DeleteConfigurationRecorder", template={"ConfigurationRecorderName": "{id}"})],
    ),
    "aws:cfg/deliveryChannel:DeliveryChannel": Kind(
        service="config",
        create=Step(operation="PutDeliveryChannel", takes=None, nested="DeliveryChannel"),
        identifier="{name}",
        update=[Step(operation="PutDeliveryChannel", takes=None, nested="DeliveryChannel")],
        replaced=["name"],
        read=Read(
            operation="DescribeDeliveryChannels",
            template={"DeliveryChannelNames": ["{id}"]},
            path="DeliveryChannels[0]",
        ),
        delete=[Step(operation="DeleteDeliveryChannel", template={"DeliveryChannelName": "{id}"})],
    ),
    "aws:cfg/recorderStatus:RecorderStatus": Kind(
        service="config",
        create=Step(operation="StartConfigurationRecorder", template={"ConfigurationRecorderName": "{name}"}),
        identifier="{name}",
        ignored=["isEnabled"],
        replaced=["name", "isEnabled"],
        read=Read(
            operation="DescribeConfigurationRecorderStatus",
            template={"ConfigurationRecorderNames": ["{id}"]},
            path="ConfigurationRecordersStatus[0].recording",
        ),
        delete=[Step(operation="StopConfigurationRecorder", template={"ConfigurationRecorderName": "{id}"})],
    ),
    "aws:cloudtrail/trail:Trail": Kind(
        service="cloudtrail",
        create=Step(
            operation="CreateTrail",
            takes=[
                "name",
                "s3BucketName",
                "s3KeyPrefix",
                "kmsKeyId",
                "enableLogFileValidation",
                "includeGlobalServiceEvents",
                "isMultiRegionTrail",
            ],
        ),
        identifier="=answer.TrailARN",
        renames={"startsWiths": "StartsWith"},
        tags="TagsList",
        after=[
            Step(operation="PutEventSelectors", takes=["advancedEventSelectors"], template={"TrailName": "{name}"}),
            Step(operation="StartLogging", template={"Name": "{name}"}),
        ],
        update=[
            Step(
                operation="UpdateTrail",
                takes=["s3BucketName", "s3KeyPrefix", "kmsKeyId", "enableLogFileValidation"],
                template={"Name": "{name}"},
            )
        ],
        replaced=["name"],
        outputs={"arn": "{id}", "homeRegion": "{region}"},
        read=Read(operation="GetTrail", template={"Name": "{id}"}, path="Trail"),
        delete=[Step(operation="DeleteTrail", template={"Name": "{name}"})],
    ),
    "aws:guardduty/detector:Detector": Kind(
        service="guardduty",
        create=Step(operation="CreateDetector", takes=None),
        identifier="=answer.DetectorId",
        tags="Tags",
        update=[
            Step(
                operation="UpdateDetector",
                takes=["enable", "findingPublishingFrequency"],
                template={"DetectorId": "{id}"},
            )
        ],
        outputs={"arn": "arn:aws:guardduty:{region}:{account}:detector/{id}", "accountId": "{account}"},
        read=Read(
            operation="GetDetector",
            template={"DetectorId": "{id}"},
            path="@",
            without=["UpdatedAt", "Features", "features", "DataSources"],
        ),
        delete=[Step(operation="DeleteDetector", template={"DetectorId": "{id}"})],
    ),
    "aws:guardduty/detectorFeature:DetectorFeature": Kind(
        service="guardduty",
        create=Step(
            operation="UpdateDetector",
            template={"DetectorId": "{detectorId}"},
            takes=["feature"],
        ),
        identifier="{detectorId}/{name}",
        renames={"feature": "Features"},
        ignored=["detectorId", "name"],
        prepare=lambda properties: properties.update(
            feature=[
                {"name": properties["name"], "status": properties.pop("status")}
                | (
                    {"additionalConfiguration": properties.pop("additionalConfigurations")}
                    if "additionalConfigurations" in properties
                    else {}
                )
            ]
        ),
        replaced=["detectorId", "name", "status", "additionalConfigurations"],
    ),
    "aws:inspector2/enabler:Enabler": Kind(
        service="inspector2",
        create=Step(operation="Enable", takes=None),
        identifier="{account}",
        replaced=["accountIds", "resourceTypes"],
        read=Read(
            operation="BatchGetAccountStatus",
            template={"accountIds": "{accountIds}"},
            path="accounts[?state.status=='ENABLED']|[0].resourceState",
        ),
        delete=[Step(operation="Disable", template={"accountIds": "{accountIds}", "resourceTypes": "{resourceTypes}"})],
    ),
    "aws:securityhub/account:Account": Kind(
        service="securityhub",
        create=Step(operation="EnableSecurityHub", takes=["enableDefaultStandards"]),
        identifier="{account}",
        after=[Step(operation="UpdateSecurityHubConfiguration", takes=["autoEnableControls"])],
        replaced=["enableDefaultStandards"],
        outputs={"arn": "arn:aws:securityhub:{region}:{account}:hub/default"},
        read=Read(operation="DescribeHub", template={}, path="@", without=["SubscribedAt"]),
        delete=[Step(operation="DisableSecurityHub")],
    ),
    "aws:securityhub/standardsSubscription:StandardsSubscription": Kind(
        service="securityhub",
        create=Step(
            operation="BatchEnableStandards",
            template={"StandardsSubscriptionRequests": [{"StandardsArn": "{standardsArn}"}]},
        ),
        identifier="=answer.StandardsSubscriptions[0].StandardsSubscriptionArn || standardsArn",
        replaced=["standardsArn"],
        delete=[Step(operation="BatchDisableStandards", template={"StandardsSubscriptionArns": ["{id}"]})],
    ),
    "aws:backup/vault:Vault": Kind(
        service="backup",
        create=Step(operation="CreateBackupVault", takes=None),
        identifier="{name}",
        renames={"name": "BackupVaultName", "kmsKeyArn": "EncryptionKeyArn"},
        ignored=["forceDestroy"],
        tags="BackupVaultTags",
        replaced=["name", "kmsKeyArn"],
        outputs={"arn": "=answer.BackupVaultArn"},
        read=Read(
            operation="DescribeBackupVault",
            template={"BackupVaultName": "{id}"},
            path="@",
            without=["Locked", "MinRetentionDays", "MaxRetentionDays", "LockDate", "NumberOfRecoveryPoints"],
        ),
        delete=[Step(operation="DeleteBackupVault", template={"BackupVaultName": "{id}"})],
    ),
    "aws:backup/vaultLockConfiguration:VaultLockConfiguration": Kind(
        service="backup",
        create=Step(operation="PutBackupVaultLockConfiguration", takes=None),
        identifier="{backupVaultName}",
        replaced=["backupVaultName", "changeableForDays", "maxRetentionDays", "minRetentionDays"],
        read=Read(operation="DescribeBackupVault", template={"BackupVaultName": "{id}"}, path="Locked"),
        delete=[Step(operation="DeleteBackupVaultLockConfiguration", template={"BackupVaultName": "{id}"})],
    ),
    "aws:backup/vaultPolicy:VaultPolicy": Kind(
        service="backup",
        create=Step(operation="PutBackupVaultAccessPolicy", takes=None),
        identifier="{backupVaultName}",
        update=[Step(operation="PutBackupVaultAccessPolicy", takes=["policy"], template={"BackupVaultName": "{id}"})],
        replaced=["backupVaultName"],
        read=Read(operation="GetBackupVaultAccessPolicy", template={"BackupVaultName": "{id}"}, path="Policy"),
        delete=[Step(operation="DeleteBackupVaultAccessPolicy", template={"BackupVaultName": "{id}"})],
    ),
    "aws:backup/plan:Plan": Kind(
        service="backup",
        create=Step(operation="CreateBackupPlan", takes=None, nested="BackupPlan"),
        identifier="=answer.BackupPlanId",
        renames={
            "name": "BackupPlanName",
            "schedule": "ScheduleExpression",
            "startWindow": "StartWindowMinutes",
            "completionWindow": "CompletionWindowMinutes",
            "targetVaultName": "TargetBackupVaultName",
            "deleteAfter": "DeleteAfterDays",
            "coldStorageAfter": "MoveToColdStorageAfterDays",
        },
        tags="BackupPlanTags",
        update=[Step(operation="UpdateBackupPlan", takes=None, template={"BackupPlanId": "{id}"}, nested="BackupPlan")],
        outputs={"arn": "=answer.BackupPlanArn", "version": "=answer.VersionId"},
        read=Read(
            operation="GetBackupPlan", template={"BackupPlanId": "{id}"}, path="[@][?!DeletionDate]|[0].BackupPlan"
        ),
        delete=[Step(operation="DeleteBackupPlan", template={"BackupPlanId": "{id}"})],
    ),
    "aws:backup/selection:Selection": Kind(
        service="backup",
        create=Step(
            operation="CreateBackupSelection",
            takes=["name", "iamRoleArn", "resources"],
            template={"BackupPlanId": "{planId}"},
            nested="BackupSelection",
        ),
        identifier="=answer.SelectionId",
        renames={"name": "SelectionName"},
        ignored=["planId"],
        replaced=["name", "iamRoleArn", "resources", "planId"],
        read=Read(
            operation="GetBackupSelection",
            template={"BackupPlanId": "{planId}", "SelectionId": "{id}"},
            path="BackupSelection",
        ),
        delete=[Step(operation="DeleteBackupSelection", template={"BackupPlanId": "{planId}", "SelectionId": "{id}"})],
    ),
}
