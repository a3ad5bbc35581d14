"""Who may do what: the rights that a first deployment lacks."""

import json
from typing import Any

from tests.defects.model import PROD, Defect, Document, all_of, unlist
from tests.policies.mutations.world import lose, put, remove, text, ungrant, within

ROLE, INLINE, ATTACHED = "iam/role:Role", "iam/rolePolicy:RolePolicy", "iam/rolePolicyAttachment:RolePolicyAttachment"
KEY, BUCKET_POLICY = "kms/key:Key", "s3/bucketPolicy:BucketPolicy"
POD_IDENTITY = "eks/podIdentityAssociation:PodIdentityAssociation"
BINDING = "k8s/rbac.authorization.k8s.io/v1:RoleBinding"
_TOO_LONG = "arn:aws:s3:::falaj-prod-444455556666-artifacts/models/"


def _without(action: str, resource: str = "") -> Any:
    """Take the statements with an action and a resource out of a policy."""

    def drop(document: Document) -> None:
        kept = [
            one
            for one in document["Statement"]
            if not (action in one["Action"] and resource in json.dumps(one["Resource"]))
        ]
        assert len(kept) < len(document["Statement"]), action
        document["Statement"] = kept

    return drop


def _each(change: Any) -> Any:
    """Change each statement of a policy."""

    def changed(document: Document) -> None:
        for statement in document["Statement"]:
            change(statement)

    return changed


def _grow(document: Document) -> None:
    document["Statement"][0]["Resource"] += [f"{_TOO_LONG}{number:04d}/*" for number in range(200)]


def _federated(document: Document) -> None:
    issuer = "oidc.eks.me-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
    document["Statement"] = [
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::444455556666:oidc-provider/{issuer}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{issuer}:aud": "sts.me-central-1.amazonaws.com"}},
        }
    ]


RIGHTS = [
    Defect(
        "key-right-missing",
        "A service may read a bucket, and not the key that its objects are encrypted with",
        PROD,
        within(INLINE, "falaj-inference", "policy", _without("kms:Decrypt", "Key::artifacts")),
    ),
    Defect(
        "grant-on-no-bucket",
        "A right on a bucket that is not there",
        PROD,
        text(INLINE, "falaj-inference", "policy", "-artifacts/models/*", "-models/*"),
    ),
    Defect(
        "list-missing",
        "A service may read objects, and not list them: what is not there answers 403",
        PROD,
        within(INLINE, "falaj-inference", "policy", _without("s3:ListBucket", "-artifacts")),
    ),
    Defect(
        "grant-on-objects-alone",
        "Listing is allowed on objects, where it is a right on buckets",
        PROD,
        text(
            INLINE,
            "falaj-inference",
            "policy",
            '"arn:aws:s3:::falaj-prod-444455556666-artifacts"]',
            '"arn:aws:s3:::falaj-prod-444455556666-artifacts/*"]',
        ),
    ),
    Defect(
        "action-misspelt",
        "A right that does not exist",
        PROD,
        text(INLINE, "falaj-inference", "policy", "s3:PutObject", "s3:PutObjects"),
    ),
    Defect(
        "policy-too-long", "More policy than a role takes", PROD, within(INLINE, "falaj-inference", "policy", _grow)
    ),
    Defect(
        "policy-no-json",
        "A policy with a comma too many",
        PROD,
        text(INLINE, "falaj-inference", "policy", "}]}", "},]}"),
    ),
    Defect(
        "secret-unreadable", "Who fetches secrets may not read one of them", PROD, remove(INLINE, "falaj-prod/cache")
    ),
    Defect(
        "secret-key-missing",
        "Who fetches secrets may not use the key of one of them",
        PROD,
        within(
            INLINE,
            "external-secrets-external-secrets",
            "policy",
            _each(lambda one: one["Resource"].remove("<aws:kms/key:Key::features.arn>")),
        ),
    ),
    Defect(
        "machines-without-role",
        "Karpenter may not hand the machines' role over",
        PROD,
        within(INLINE, "karpenter-karpenter", "policy", _without("iam:PassRole")),
        "https://github.com/aws/karpenter-provider-aws/issues/6659",
    ),
    Defect(
        "volumes-unencrypted",
        "Who makes volumes may not use the key of their storage class",
        PROD,
        remove(INLINE, "aws-ebs-csi-driver"),
    ),
]
KEYS = [
    Defect(
        "key-locked-out",
        "A key that its own account cannot change any more",
        PROD,
        all_of(ungrant(KEY, "logs", "policy", "Account"), ungrant(KEY, "logs", "policy", "Administrators")),
    ),
    Defect(
        "key-without-logs",
        "Log groups on a key that CloudWatch Logs may not use",
        PROD,
        ungrant(KEY, "logs", "policy", "Logs"),
    ),
    Defect(
        "key-without-alarms",
        "A topic on a key that alarms may not use: nothing arrives",
        PROD,
        ungrant(KEY, "logs", "policy", "Alarms"),
    ),
    Defect(
        "key-without-machines",
        "Disks on a key that the service which starts machines may not use",
        PROD,
        ungrant(KEY, "platform", "policy", "NodeDiskGrants"),
    ),
    Defect(
        "key-without-trail",
        "A trail on a key that CloudTrail may not use",
        PROD,
        ungrant(KEY, "audit", "policy", "Trail"),
    ),
    Defect(
        "key-for-no-one",
        "A key for a role of AWS whose name is misspelt",
        PROD,
        text(KEY, "platform", "policy", "AWSServiceRoleForAutoScaling", "AWSServiceRoleForAutoscaling"),
    ),
]
SERVICES = [
    Defect(
        "trail-refused",
        "A bucket that refuses CloudTrail's files",
        PROD,
        ungrant(BUCKET_POLICY, "audit", "policy", "ServiceWrites"),
    ),
    Defect(
        "recorder-refused",
        "A bucket that refuses the recorder of changes",
        PROD,
        ungrant(BUCKET_POLICY, "logs", "policy", "ServiceWrites"),
    ),
    Defect(
        "alarms-refused",
        "A topic that refuses alarms",
        PROD,
        text("sns/topicPolicy:TopicPolicy", "operations", "policy", "cloudwatch.amazonaws.com", "ec2.amazonaws.com"),
    ),
    Defect(
        "interruptions-refused",
        "A queue that refuses the events that it is for",
        PROD,
        text("sqs/queuePolicy:QueuePolicy", "interruptions", "policy", "events.amazonaws.com", "sns.amazonaws.com"),
    ),
    Defect(
        "search-logs-refused",
        "Log groups that refuse OpenSearch",
        PROD,
        remove("cloudwatch/logResourcePolicy:LogResourcePolicy", "search"),
        "https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/1769",
    ),
    Defect(
        "search-logs-of-another",
        "Log groups that let in another domain",
        PROD,
        text(
            "cloudwatch/logResourcePolicy:LogResourcePolicy",
            "search",
            "policyDocument",
            "domain/falaj-prod",
            "domain/falaj",
        ),
    ),
    Defect(
        "search-logs-one-by-one",
        "OpenSearch may write its log line by line, and wants to write many",
        PROD,
        text(
            "cloudwatch/logResourcePolicy:LogResourcePolicy",
            "search",
            "policyDocument",
            '"logs:PutLogEventsBatch", ',
            "",
        ),
    ),
    Defect(
        "backup-without-rights",
        "A backup whose role may not copy",
        PROD,
        remove(ATTACHED, "AWSBackupServiceRolePolicyForBackup"),
    ),
    Defect(
        "flow-logs-untrusted",
        "The network's log may not take its role",
        PROD,
        text(ROLE, "flow-logs", "assumeRolePolicy", "vpc-flow-logs.amazonaws.com", "ec2.amazonaws.com"),
    ),
    Defect("recorder-without-rights", "The recorder of changes may not look", PROD, remove(ATTACHED, "config")),
]
IDENTITIES = [
    Defect("identity-missing", "A service account without its role", PROD, remove(POD_IDENTITY, "falaj-inference")),
    Defect(
        "identity-of-another",
        "A role for a service account that is not there",
        PROD,
        put(POD_IDENTITY, "serving-models", "serviceAccount", "model"),
    ),
    Defect(
        "identity-in-no-namespace",
        "A role for a namespace that is not there",
        PROD,
        put(POD_IDENTITY, "serving-models", "namespace", "models"),
    ),
    Defect(
        "identity-untrusted",
        "A pod's role that trusts machines, and not pods",
        PROD,
        text(ROLE, "serving-models", "assumeRolePolicy", "pods.eks.amazonaws.com", "ec2.amazonaws.com"),
    ),
    Defect(
        "identity-untagged",
        "A pod's role without the right to tag the session",
        PROD,
        text(ROLE, "serving-models", "assumeRolePolicy", '["sts:AssumeRole", "sts:TagSession"]', '["sts:AssumeRole"]'),
    ),
    Defect(
        "identity-tagged-otherwise",
        "A pod's role that trusts another namespace's pods",
        PROD,
        text(ROLE, "serving-models", "assumeRolePolicy", '"serving"', '"models"'),
    ),
    Defect(
        "identity-of-another-cluster",
        "A pod's role that trusts another cluster",
        PROD,
        text(ROLE, "serving-models", "assumeRolePolicy", "cluster/falaj-prod", "cluster/falaj-production"),
    ),
    Defect(
        "identity-by-web",
        "A role for a web identity whose provider is not there, with the wrong audience",
        PROD,
        within(ROLE, "serving-models", "assumeRolePolicy", _federated),
    ),
    Defect(
        "addon-without-identity",
        "The driver of volumes without its role",
        PROD,
        lose("eks/addon:Addon", "aws-ebs-csi-driver", "podIdentityAssociations"),
    ),
    Defect("agent-missing", "Nothing hands roles to pods", PROD, remove("eks/addon:Addon", "eks-pod-identity-agent")),
    Defect(
        "nodes-not-workers",
        "Machines that may not join the cluster",
        PROD,
        remove(ATTACHED, "AmazonEKSWorkerNodeMinimalPolicy"),
        "https://github.com/aws/karpenter-provider-aws/issues/7469",
    ),
    Defect(
        "nodes-without-images",
        "Machines that may not pull images",
        PROD,
        remove(ATTACHED, "AmazonEC2ContainerRegistryPullOnly"),
    ),
    Defect("cluster-without-rights", "A cluster whose role may do nothing", PROD, remove(ATTACHED, "cluster")),
    Defect(
        "profile-of-no-role",
        "Machines with a role that is not there",
        PROD,
        put("iam/instanceProfile:InstanceProfile", "nodes", "role", "falaj-prod-node"),
    ),
    Defect(
        "administrators-unbound",
        "Administrators who may enter, and do nothing",
        PROD,
        remove("eks/accessPolicyAssociation:AccessPolicyAssociation", "platform-administrators"),
    ),
    Defect(
        "binding-to-no-role",
        "A binding to a role that is not there",
        PROD,
        put(BINDING, "spark/pipeline-runner", "roleRef name", "pipelines-runner"),
    ),
    Defect(
        "binding-of-no-one",
        "A binding for a service account that is not there",
        PROD,
        put(BINDING, "spark/pipeline-runner", "subjects 0 name", "pipeline-runners"),
    ),
    Defect(
        "steps-may-not-start",
        "Steps may not start the jobs that they start",
        PROD,
        unlist(
            "k8s/rbac.authorization.k8s.io/v1:Role",
            "spark/pipeline-runner",
            "rules 0 verbs",
            lambda verb: verb == "create",
        ),
    ),
]
