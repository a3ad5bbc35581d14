"""Who may do what, and who someone is: PDPL article 20, ISO 27001 A.5.15 and A.8.2, UAE IA T5.2.2, CIS EKS 4.1."""

from typing import Any

from tests.policies.mutations.world import (
    BOTH,
    CLOUD,
    PROD,
    SITE,
    Change,
    Document,
    Mutation,
    World,
    add,
    append,
    grant,
    lose,
    policy,
    put,
    remove,
    within,
)

ROLE, RIGHTS, ATTACHED = (
    "iam/role:Role",
    "iam/rolePolicy:RolePolicy",
    "iam/rolePolicyAttachment:RolePolicyAttachment",
)
TRUST = "assumeRolePolicy"
STRANGER = "arn:aws:iam::999988887777:root"
BLOCK = "s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
SIGN_IN = "k8s/gateway.envoyproxy.io/v1alpha1:SecurityPolicy"
CLIENTS = "k8s/gateway.envoyproxy.io/v1alpha1:ClientTrafficPolicy"
ACCESS = "eks/accessPolicyAssociation:AccessPolicyAssociation"
ACCOUNT, DEPLOYMENT, CHART = "k8s/core/v1:ServiceAccount", "k8s/apps/v1:Deployment", "k8s/helm.sh/v4:Chart"
RBAC = "rbac.authorization.k8s.io/v1"
POD = "spec template spec"


def _may(*actions: str, resource: Any = "*", on: tuple[str, ...] = (PROD,)) -> tuple[tuple[str, ...], Change]:
    """Steps of pipelines get rights that they have no need of."""
    return on, grant(RIGHTS, "pipelines-pipeline-runner", "policy", Action=list(actions), Resource=resource)


def _cluster_role(name: str, *rules: Document, kind: str = "ClusterRole") -> Document:
    return {"apiVersion": RBAC, "kind": kind, "metadata": {"name": name}, "rules": list(rules)}


def _rule(resources: list[str], verbs: list[str], groups: list[str] | None = None) -> Document:
    return {"apiGroups": groups if groups is not None else [""], "resources": resources, "verbs": verbs}


def _bind(role: str, subject: Document) -> Document:
    return {
        "apiVersion": RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "extra"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def _without_conditions(document: Document) -> None:
    for statement in document["Statement"]:
        statement.pop("Condition", None)


def _without_pod(document: Document) -> None:
    equals = document["Statement"][0]["Condition"]["StringEquals"]
    for key in [key for key in equals if key.startswith("aws:RequestTag/")]:
        del equals[key]


def _any_audience(inputs: Document) -> None:
    del inputs["spec"]["jwt"]["providers"][0]["audiences"]


def _strange_administrator(world: World) -> None:
    for kind in (ACCESS, "eks/accessEntry:AccessEntry"):
        world.inputs(kind, "platform-administrators")["principalArn"] = STRANGER


def _federated(conditions: Document) -> str:
    issuer = "arn:aws:iam::444455556666:oidc-provider/oidc.eks.me-central-1.amazonaws.com/id/0123456789ABCDEF"
    statement: Document = {"Principal": {"Federated": issuer}, "Action": "sts:AssumeRoleWithWebIdentity"}
    return policy(**statement, **({"Condition": conditions} if conditions else {}))


ISSUER = "oidc.eks.me-central-1.amazonaws.com/id/0123456789ABCDEF"
MUTATIONS = [
    Mutation("rights-everything", "ia-t5.2.2", "Steps may do anything", *_may("*", on=CLOUD)),
    Mutation("rights-all-objects", "iso-5.15", "Steps may do anything with any bucket", *_may("s3:*", on=CLOUD)),
    Mutation(
        "rights-read-all-objects",
        "iso-5.15",
        "Steps may read every bucket",
        *_may("s3:GetObject", resource="arn:aws:s3:::*/*"),
    ),
    Mutation("rights-all-keys", "ia-t7.4.2", "Steps may decrypt with every key", *_may("kms:Decrypt")),
    Mutation("rights-all-secrets", "iso-5.17", "Steps may read every secret", *_may("secretsmanager:GetSecretValue")),
    Mutation(
        "rights-pass-any-role", "iso-8.2", "Steps may hand any role to a service", *_may("iam:PassRole", on=CLOUD)
    ),
    Mutation("rights-new-policy-version", "iso-8.2", "Steps may rewrite policies", *_may("iam:CreatePolicyVersion")),
    Mutation(
        "rights-attach-policy",
        "iso-8.2",
        "Steps may attach any policy to roles",
        *_may("iam:AttachRolePolicy", resource="arn:aws:iam::444455556666:role/*"),
    ),
    Mutation(
        "rights-put-role-policy",
        "iso-8.2",
        "Steps may write rights into a role",
        *_may("iam:PutRolePolicy", resource="arn:aws:iam::444455556666:role/falaj-prod-nodes"),
    ),
    Mutation(
        "rights-change-trust", "iso-8.2", "Steps may change who assumes a role", *_may("iam:UpdateAssumeRolePolicy")
    ),
    Mutation("rights-create-access-key", "iso-8.5", "Steps may make access keys", *_may("iam:CreateAccessKey")),
    Mutation("rights-assume-any-role", "iso-8.2", "Steps may assume any role", *_may("sts:AssumeRole")),
    Mutation(
        "rights-function-with-role",
        "iso-8.2",
        "Steps may run code as another role",
        *_may("iam:PassRole", "lambda:CreateFunction", "lambda:InvokeFunction"),
    ),
    Mutation(
        "rights-machine-with-role",
        "iso-8.2",
        "Steps may start a machine with another role",
        *_may("iam:PassRole", "ec2:RunInstances"),
    ),
    Mutation(
        "rights-cluster-administrator",
        "cis-eks-4.1.1",
        "Steps may make themselves administrators of the cluster",
        *_may("eks:CreateAccessEntry", "eks:AssociateAccessPolicy"),
    ),
    Mutation("rights-run-commands", "iso-8.2", "Steps may run commands on nodes", *_may("ssm:SendCommand")),
    Mutation(
        "rights-all-but",
        "ia-t5.2.2",
        "Steps may do all but manage users",
        (PROD,),
        grant(RIGHTS, "pipelines-pipeline-runner", "policy", NotAction=["iam:*"], Resource="*"),
    ),
    Mutation(
        "rights-delete-audit",
        "iso-5.33",
        "Steps may delete records of the audit log",
        *_may(
            "s3:DeleteObject", "s3:DeleteObjectVersion", resource="arn:aws:s3:::falaj-prod-444455556666-audit/audit/*"
        ),
    ),
    Mutation(
        "rights-bypass-lock",
        "iso-5.28",
        "Steps may bypass the lock of the audit log",
        *_may("s3:BypassGovernanceRetention", resource="arn:aws:s3:::falaj-prod-444455556666-audit/*"),
    ),
    Mutation("rights-stop-trail", "ia-t3.6.4", "Steps may stop the audit trail", *_may("cloudtrail:StopLogging")),
    Mutation("rights-delete-keys", "ia-t7.4.2", "Steps may have keys deleted", *_may("kms:ScheduleKeyDeletion")),
    Mutation(
        "rights-make-bucket-public",
        "iso-8.12",
        "Steps may open buckets to the public",
        *_may("s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock"),
    ),
    Mutation(
        "rights-other-tenant",
        "iso-8.22",
        "The role of models may read the raw data of pipelines",
        (PROD,),
        grant(
            RIGHTS,
            "serving-models",
            "policy",
            Action=["s3:GetObject"],
            Resource=["arn:aws:s3:::falaj-prod-444455556666-raw/*"],
        ),
    ),
    Mutation(
        "role-shared-by-tenants",
        "iso-8.22",
        "Notebooks run as the role of pipelines",
        CLOUD,
        add(
            "eks/podIdentityAssociation:PodIdentityAssociation",
            "notebooks",
            {
                "clusterName": "falaj",
                "namespace": "notebooks",
                "serviceAccount": "default",
                "roleArn": "<aws:iam/role:Role::pipelines-pipeline-runner.arn>",
            },
        ),
    ),
    Mutation(
        "administrator-attached",
        "ia-t5.2.2",
        "A role is administrator of the account",
        CLOUD,
        put(ATTACHED, "vpc-cni", "policyArn", "arn:aws:iam::aws:policy/AdministratorAccess"),
    ),
    Mutation(
        "power-user-attached",
        "ia-t5.2.2",
        "A role may do nearly anything",
        (PROD,),
        put(ATTACHED, "cluster", "policyArn", "arn:aws:iam::aws:policy/PowerUserAccess"),
    ),
    Mutation(
        "identity-administrator-attached",
        "iso-8.2",
        "A role manages all identities",
        (PROD,),
        put(ATTACHED, "config", "policyArn", "arn:aws:iam::aws:policy/IAMFullAccess"),
    ),
    Mutation(
        "nodes-write-images",
        "cis-eks-5.1.3",
        "Nodes may change images",
        CLOUD,
        put(
            ATTACHED,
            "AmazonEC2ContainerRegistryPullOnly",
            "policyArn",
            "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPowerUser",
        ),
    ),
    Mutation(
        "nodes-all-objects",
        "cis-eks-5.2.1",
        "Nodes, and so all pods, may do anything with buckets",
        (PROD,),
        add(
            ATTACHED,
            "nodes-s3",
            {"role": "falaj-prod-nodes", "policyArn": "arn:aws:iam::aws:policy/AmazonS3FullAccess"},
        ),
    ),
    Mutation(
        "policy-everything",
        "ia-t5.2.2",
        "A policy of the account allows everything",
        (PROD,),
        add("iam/policy:Policy", "all", {"policy": policy(Action="*", Resource="*")}),
    ),
    Mutation(
        "trust-everyone",
        "iso-5.15",
        "Anyone may assume a role",
        CLOUD,
        grant(ROLE, "pipelines-pipeline-runner", TRUST, Principal="*", Action="sts:AssumeRole"),
    ),
    Mutation(
        "trust-another-account",
        "iso-5.15",
        "Another account may assume a role without a condition",
        CLOUD,
        grant(ROLE, "pipelines-pipeline-runner", TRUST, Principal={"AWS": STRANGER}, Action="sts:AssumeRole"),
    ),
    Mutation(
        "trust-any-pod",
        "cis-eks-5.2.1",
        "Any pod of the cluster may have the role of models",
        CLOUD,
        within(ROLE, "serving-models", TRUST, _without_pod),
    ),
    Mutation(
        "trust-any-cluster",
        "iso-5.15",
        "Pods of any cluster may have the role of models",
        CLOUD,
        within(ROLE, "serving-models", TRUST, _without_conditions),
    ),
    Mutation(
        "trust-deputy",
        "iso-5.15",
        "A service may act for any customer of the provider",
        (PROD,),
        within(ROLE, "backup", TRUST, _without_conditions),
    ),
    Mutation(
        "trust-tokens-without-audience",
        "iso-8.5",
        "A role takes tokens that were made for another",
        (PROD,),
        add(
            ROLE,
            "federated",
            {
                "name": "federated",
                TRUST: _federated({"StringEquals": {f"{ISSUER}:sub": "system:serviceaccount:pipelines:runner"}}),
            },
        ),
    ),
    Mutation(
        "trust-tokens-of-anyone",
        "iso-8.5",
        "A role takes any token of the issuer",
        (PROD,),
        add(
            ROLE,
            "federated",
            {"name": "federated", TRUST: _federated({"StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com"}})},
        ),
    ),
    Mutation(
        "user-of-the-account",
        "iso-8.5",
        "A user with a password of its own",
        (PROD,),
        add("iam/user:User", "developer", {"name": "developer"}),
    ),
    Mutation(
        "access-key-that-lasts",
        "iso-8.5",
        "An access key that never ends",
        (PROD,),
        add("iam/accessKey:AccessKey", "developer", {"user": "developer"}),
    ),
    Mutation(
        "bucket-public-policy",
        "pdpl-20",
        "Anyone may read the raw data",
        CLOUD,
        grant(
            "s3/bucketPolicy:BucketPolicy",
            "raw",
            "policy",
            Principal="*",
            Action="s3:GetObject",
            Resource="arn:aws:s3:::falaj-prod-444455556666-raw/*",
        ),
    ),
    Mutation(
        "bucket-public-acl",
        "pdpl-20",
        "An access list makes the raw data public",
        CLOUD,
        add("s3/bucketAcl:BucketAcl", "raw", {"bucket": "<aws:s3/bucket:Bucket::raw.id>", "acl": "public-read"}),
    ),
    Mutation(
        "bucket-public-acls-allowed",
        "pdpl-20",
        "Access lists may make a bucket public",
        CLOUD,
        put(BLOCK, "raw", "blockPublicAcls", False),
    ),
    Mutation(
        "bucket-public-policy-allowed",
        "pdpl-20",
        "Policies may make a bucket public",
        (PROD,),
        put(BLOCK, "curated", "blockPublicPolicy", False),
    ),
    Mutation(
        "bucket-public-acls-heeded",
        "pdpl-20",
        "Public access lists are heeded",
        (PROD,),
        put(BLOCK, "features", "ignorePublicAcls", False),
    ),
    Mutation(
        "bucket-public-not-restricted",
        "pdpl-20",
        "A public bucket is open to all",
        (PROD,),
        put(BLOCK, "artifacts", "restrictPublicBuckets", False),
    ),
    Mutation(
        "bucket-block-gone", "pdpl-20", "Nothing keeps a bucket from being made public", CLOUD, remove(BLOCK, "raw")
    ),
    Mutation(
        "bucket-owner-writer",
        "iso-5.15",
        "Who writes an object owns it",
        (PROD,),
        put("s3/bucketOwnershipControls:BucketOwnershipControls", "raw", "rule objectOwnership", "ObjectWriter"),
    ),
    Mutation(
        "bucket-website",
        "pdpl-20",
        "A bucket is a public web site",
        (PROD,),
        add(
            "s3/bucketWebsiteConfiguration:BucketWebsiteConfiguration",
            "artifacts",
            {"bucket": "<aws:s3/bucket:Bucket::artifacts.id>", "indexDocument": {"suffix": "index.html"}},
        ),
    ),
    Mutation(
        "secret-for-everyone",
        "iso-5.17",
        "Anyone may read a secret",
        (PROD,),
        add(
            "secretsmanager/secretPolicy:SecretPolicy",
            "tracking",
            {
                "secretArn": "<aws:secretsmanager/secret:Secret::tracking.arn>",
                "policy": policy(Principal="*", Action="secretsmanager:GetSecretValue", Resource="*"),
            },
        ),
    ),
    Mutation(
        "images-for-everyone",
        "iso-5.21",
        "Anyone may pull, and push, an image",
        (PROD,),
        add(
            "ecr/repositoryPolicy:RepositoryPolicy",
            "grafana",
            {"repository": "falaj/docker.io/grafana/grafana", "policy": policy(Principal="*", Action="ecr:*")},
        ),
    ),
    Mutation(
        "topic-for-everyone",
        "iso-5.15",
        "Anyone may send alarms",
        CLOUD,
        grant("sns/topicPolicy:TopicPolicy", "security", "policy", Principal="*", Action="sns:Publish", Resource="*"),
    ),
    Mutation(
        "queue-for-everyone",
        "iso-5.15",
        "Anyone may write to the queue of interruptions",
        (PROD,),
        grant(
            "sqs/queuePolicy:QueuePolicy",
            "interruptions",
            "policy",
            Principal="*",
            Action="sqs:SendMessage",
            Resource="*",
        ),
    ),
    Mutation(
        "backups-for-everyone",
        "iso-8.13",
        "Anyone may copy backups",
        (PROD,),
        grant("backup/vaultPolicy:VaultPolicy", "vault", "policy", Principal="*", Action="backup:*", Resource="*"),
    ),
    Mutation(
        "search-for-everyone",
        "iso-5.15",
        "Anyone may read the logs",
        (PROD,),
        put(
            "opensearch/domain:Domain",
            "search",
            "accessPolicies",
            policy(Principal={"AWS": "*"}, Action="es:*", Resource="*"),
        ),
    ),
    Mutation(
        "search-anonymous",
        "iso-8.5",
        "The log search lets the nameless in",
        (PROD,),
        put("opensearch/domain:Domain", "search", "advancedSecurityOptions anonymousAuthEnabled", True),
    ),
    Mutation(
        "search-without-roles",
        "iso-5.15",
        "The log search has no rights by role",
        (PROD,),
        put("opensearch/domain:Domain", "search", "advancedSecurityOptions enabled", False),
    ),
    Mutation(
        "kafka-anonymous",
        "iso-8.5",
        "Clients of Kafka need not say who they are",
        (PROD,),
        put("msk/cluster:Cluster", "kafka", "clientAuthentication unauthenticated", True),
    ),
    Mutation(
        "kafka-without-authentication",
        "iso-8.5",
        "Kafka has no way to say who one is",
        (PROD,),
        lose("msk/cluster:Cluster", "kafka", "clientAuthentication"),
    ),
    Mutation(
        "cache-without-users",
        "iso-8.5",
        "Whoever reaches the cache may use it",
        CLOUD,
        lose("elasticache/replicationGroup:ReplicationGroup", "cache", "userGroupIds"),
    ),
    Mutation(
        "cache-user-without-password",
        "iso-8.5",
        "A user of the cache needs no password",
        CLOUD,
        put("elasticache/user:User", "cache", "authenticationMode", {"type": "no-password-required"}),
    ),
    Mutation(
        "cache-user-all-commands",
        "ia-t5.2.2",
        "The features' user may administer the cache",
        (PROD,),
        put("elasticache/user:User", "cache", "accessString", "on ~* +@all"),
    ),
    Mutation(
        "cluster-users-by-map",
        "cis-eks-5.5.1",
        "Users of the cluster are in a map that nothing logs",
        CLOUD,
        put("eks/cluster:Cluster", "cluster", "accessConfig authenticationMode", "CONFIG_MAP"),
    ),
    Mutation(
        "cluster-creator-administrator",
        "cis-eks-4.1.1",
        "Who made the cluster administers it for good",
        CLOUD,
        put("eks/cluster:Cluster", "cluster", "accessConfig bootstrapClusterCreatorAdminPermissions", True),
    ),
    Mutation(
        "cluster-stranger-administrator",
        "cis-eks-4.1.1",
        "Another account's role administers the cluster",
        CLOUD,
        _strange_administrator,
    ),
    Mutation(
        "cluster-masters",
        "cis-eks-4.1.7",
        "An entry is of the group system:masters",
        CLOUD,
        put("eks/accessEntry:AccessEntry", "platform-administrators", "kubernetesGroups", ["system:masters"]),
    ),
    Mutation(
        "cluster-release-administers",
        "cis-eks-4.1.1",
        "Releases administer the whole cluster",
        (PROD,),
        lambda world: world.inputs(ACCESS, "release").update(
            policyArn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
            accessScope={"type": "cluster"},
        ),
    ),
    Mutation(
        "rbac-everything",
        "cis-eks-4.1.3",
        "A role of the cluster may do anything",
        BOTH,
        add(f"k8s/{RBAC}:ClusterRole", "extra", _cluster_role("extra", _rule(["*"], ["*"], ["*"]))),
    ),
    Mutation(
        "rbac-all-verbs",
        "cis-eks-4.1.3",
        "A role may do anything with Spark's applications",
        (PROD,),
        put(f"k8s/{RBAC}:Role", "spark/pipeline-runner", "rules 0 verbs", ["*"]),
    ),
    Mutation(
        "rbac-read-secrets",
        "cis-eks-4.1.2",
        "Steps may list the secrets of training",
        (PROD, SITE),
        append(f"k8s/{RBAC}:Role", "training/pipeline-runner", "rules", _rule(["secrets"], ["get", "list"])),
    ),
    Mutation(
        "rbac-escalate",
        "cis-eks-4.1.8",
        "A role may give itself more",
        BOTH,
        add(
            f"k8s/{RBAC}:ClusterRole",
            "extra",
            _cluster_role("extra", _rule(["clusterroles"], ["bind", "escalate"], ["rbac.authorization.k8s.io"])),
        ),
    ),
    Mutation(
        "rbac-impersonate",
        "cis-eks-4.1.8",
        "A role may act as others",
        BOTH,
        add(f"k8s/{RBAC}:ClusterRole", "extra", _cluster_role("extra", _rule(["users", "groups"], ["impersonate"]))),
    ),
    Mutation(
        "rbac-exec",
        "iso-8.2",
        "Steps may open a shell in pods of training",
        (PROD, SITE),
        append(f"k8s/{RBAC}:Role", "training/pipeline-runner", "rules", _rule(["pods/exec"], ["create"])),
    ),
    Mutation(
        "rbac-administrator-bound",
        "cis-eks-4.1.1",
        "An account of a tenant administers the cluster",
        BOTH,
        add(
            f"k8s/{RBAC}:ClusterRoleBinding",
            "extra",
            _bind("cluster-admin", {"kind": "ServiceAccount", "name": "models", "namespace": "serving"}),
        ),
    ),
    Mutation(
        "rbac-everyone-bound",
        "iso-8.5",
        "Whoever is signed in to the cluster may edit",
        BOTH,
        add(
            f"k8s/{RBAC}:ClusterRoleBinding",
            "extra",
            _bind("edit", {"kind": "Group", "name": "system:authenticated", "apiGroup": "rbac.authorization.k8s.io"}),
        ),
    ),
    Mutation(
        "account-with-token",
        "cis-eks-4.1.6",
        "Pods of models have a token that they do not need",
        BOTH,
        put(ACCOUNT, "serving/models", "automountServiceAccountToken", True),
    ),
    Mutation(
        "pod-with-token",
        "cis-eks-4.1.6",
        "A service has a token that it does not need",
        BOTH,
        put(DEPLOYMENT, "inference", f"{POD} automountServiceAccountToken", True),
    ),
    Mutation(
        "pod-default-account",
        "cis-eks-4.1.5",
        "A service runs as the default account",
        BOTH,
        lose(DEPLOYMENT, "inference", f"{POD} serviceAccountName"),
    ),
    Mutation(
        "gateway-without-sign-in", "iso-8.5", "The gateway asks no one who they are", BOTH, remove(SIGN_IN, "falaj")
    ),
    Mutation(
        "gateway-lets-all-in",
        "iso-5.15",
        "The gateway lets in whoever is signed in",
        BOTH,
        put(SIGN_IN, "falaj", "spec authorization defaultAction", "Allow"),
    ),
    Mutation(
        "gateway-any-audience",
        "iso-8.5",
        "The gateway takes tokens that were made for another",
        BOTH,
        lambda world: _any_audience(world.inputs(SIGN_IN, "falaj")),
    ),
    Mutation(
        "gateway-keys-plain-http",
        "iso-8.5",
        "The issuer's keys are fetched in clear",
        BOTH,
        put(SIGN_IN, "falaj", "spec jwt providers 0 remoteJWKS uri", "http://login.example.ae/certs"),
    ),
    Mutation(
        "gateway-user-forged",
        "iso-8.5",
        "A caller may say who they are by a header",
        BOTH,
        put(CLIENTS, "falaj", "spec headers earlyRequestHeaders remove", ["X-Other"]),
    ),
    Mutation(
        "gateway-user-forged-by-underscore",
        "iso-8.5",
        "A caller may say who they are by a header's other spelling",
        (PROD,),
        put(CLIENTS, "falaj", "spec headers withUnderscoresAction", "Allow"),
    ),
    Mutation(
        "gateway-token-passed-on",
        "iso-8.5",
        "Services see the tokens of their callers",
        BOTH,
        put(SIGN_IN, "falaj", "spec oidc forwardAccessToken", True),
    ),
    Mutation(
        "gateway-sessions-passed-on",
        "iso-8.5",
        "Services see the sessions of their callers",
        BOTH,
        remove("k8s/gateway.envoyproxy.io/v1alpha1:EnvoyExtensionPolicy", "falaj"),
    ),
    Mutation(
        "gateway-administration-for-users",
        "iso-8.2",
        "The pages of administrators are open to users",
        BOTH,
        remove(SIGN_IN, "alertmanager"),
    ),
    Mutation(
        "gateway-administration-any-group",
        "iso-8.2",
        "A page of administrators names no group of them",
        BOTH,
        put(SIGN_IN, "prometheus", "spec authorization defaultAction", "Allow"),
    ),
    Mutation(
        "notebooks-for-anyone",
        "iso-8.5",
        "Anyone may open a notebook",
        (PROD, SITE),
        put(CHART, "jupyterhub", "values hub config GenericOAuthenticator allow_all", True),
    ),
    Mutation(
        "notebooks-without-sign-in",
        "iso-8.5",
        "Notebooks take any name and password",
        (PROD, SITE),
        put(CHART, "jupyterhub", "values hub config JupyterHub authenticator_class", "dummy"),
    ),
    Mutation(
        "notebooks-of-others",
        "iso-8.2",
        "Administrators may open the notebooks of others",
        (PROD, SITE),
        put(CHART, "jupyterhub", "values hub config JupyterHub admin_access", True),
    ),
    Mutation(
        "dashboards-anonymous",
        "iso-8.5",
        "Dashboards let the nameless in",
        BOTH,
        put(CHART, "monitoring", "values grafana grafana.ini auth.anonymous", {"enabled": True}),
    ),
    Mutation(
        "dashboards-password",
        "iso-5.17",
        "Dashboards have a password that is written down",
        BOTH,
        put(CHART, "monitoring", "values grafana adminPassword", "prom-operator"),
    ),
    Mutation(
        "log-store-key-in-settings",
        "iso-5.17",
        "The log store's key is written in its settings",
        (SITE,),
        put(
            CHART,
            "loki",
            "values loki storage object_store s3 secret_access_key",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ),
    ),
]
