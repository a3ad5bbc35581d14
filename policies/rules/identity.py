"""No one may do more than their work needs, by what policies really grant."""

import re
from collections.abc import Iterator

from policies import iam, pods
from policies.conditions import among, forbidden, not_true
from policies.controls import ACCESS, AUTHENTICATION, HARDENING
from policies.graph import Graph
from policies.model import Faults, Judge, Resource, Rule, Severity, is_unknown

_HIGH, _CRITICAL, _MEDIUM = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM
_IDENTITY = (*iam.IDENTITY, iam.ROLE)
_POWERFUL = re.compile(
    r":policy/(?:job-function/)?(AdministratorAccess\S*|PowerUserAccess|IAMFullAccess|SystemAdministrator|"
    r"SecretsManagerReadWrite|AWSKeyManagementServicePowerUser|\w+FullAccess|ReadOnlyAccess)$"
)
_NODE_POLICIES = frozenset(
    {
        "AmazonEC2ContainerRegistryPullOnly",
        "AmazonEC2ContainerRegistryReadOnly",
        "AmazonEKSWorkerNodeMinimalPolicy",
        "AmazonEKSWorkerNodePolicy",
        "AmazonSSMManagedInstanceCore",
    }
)
_CONFUSED = frozenset({"ec2", "lambda"})
"""Services that take a role for what is in the role's own account alone."""
_SYSTEM_ROLES = ("system:masters",)
_RBAC = (
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole",
    "kubernetes:rbac.authorization.k8s.io/v1:Role",
)
_BINDINGS = (
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding",
    "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding",
)
_WHY = "Whoever takes over a service has its rights."
_REMEDY = "Name what it needs: the access that a workload declares in infra/services, or the statement in infra."


def _statements(resource: Resource) -> Iterator[iam.Statement]:
    """Statements of the rights of an identity."""
    if resource.type == iam.ROLE:
        for inline in resource.inputs.get("inlinePolicies") or ():
            if isinstance(inline, dict) and isinstance(inline.get("policy"), str):
                yield from iam.statements(iam.parse(inline["policy"]))
    else:
        yield from iam.statements(iam.document(resource, iam.IDENTITY[resource.type]))


def _rights(judge: Judge) -> Judge:
    """A document that cannot be read is a fault, not an error of the program."""

    def judged(resource: Resource, graph: Graph) -> Faults:
        try:
            yield from judge(resource, graph)
        except iam.Malformed as fault:
            yield str(fault)

    return judged


def _admin(resource: Resource, _graph: Graph) -> Faults:
    for statement in _statements(resource):
        if statement.allows and "*" in statement.actions:
            yield "it grants every action"
        if statement.allows and any(re.fullmatch(r"[a-z0-9-]+:\*", one) for one in statement.actions):
            yield "it grants every action of a service"
        if statement.allows and statement.not_actions:
            yield "it grants all but what it names (NotAction)"
        if statement.allows and statement.not_resources:
            yield "it holds for all but what it names (NotResource)"


def _wildcards(resource: Resource, _graph: Graph) -> Faults:
    for statement in _statements(resource):
        for action in statement.actions if statement.allows else ():
            name = action.partition(":")[2]
            if "*" in name and name != "*" and not re.match(r"(Get|List|Describe|BatchGet)\w*\*$", name):
                yield f"it grants {action}"


def _unbounded(resource: Resource, _graph: Graph) -> Faults:
    found = iam.document(resource, iam.IDENTITY[resource.type])
    if found is not None:
        grants = iam.granted(found).unbounded
        if grants:
            more = f" and {len(grants) - 3} more" if len(grants) > 3 else ""
            yield f"it lets {', '.join(grants[:3])}{more} change every resource, without a condition"


def _role_rights(pick: str, words: str) -> Judge:
    def judge(resource: Resource, graph: Graph) -> Faults:
        if resource.type == iam.ROLE:
            found = iam.of_role(resource, graph)
        else:
            found = iam.document(resource, iam.IDENTITY[resource.type]) or {"Statement": []}
        grants = getattr(iam.granted(found), pick) if found["Statement"] else ()
        if grants:
            yield f"{words}: {', '.join(grants[:5])}"

    return judge


def _pass_role(resource: Resource, _graph: Graph) -> Faults:
    for statement in _statements(resource):
        passes = [one for one in statement.actions if one.lower() in ("iam:passrole", "iam:pass*", "iam:*", "*")]
        if statement.allows and passes and any(one == "*" or one.endswith(":role/*") for one in statement.resources):
            yield "it may hand any role to a service"


def _assume(resource: Resource, _graph: Graph) -> Faults:
    for statement in _statements(resource):
        assumes = [one for one in statement.actions if one.lower() in ("sts:assumerole", "sts:*", "sts:assume*")]
        if statement.allows and assumes and any(one == "*" or one.endswith(":role/*") for one in statement.resources):
            yield "it may take any role"


def _trust(resource: Resource, graph: Graph) -> Faults:
    substrate = graph.settings.substrate
    account = substrate.account_id if substrate else None
    for statement in iam.statements(iam.document(resource, "assumeRolePolicy")):
        if not statement.allows:
            continue
        if statement.anyone:
            yield "everyone may take it"
        for name in statement.principals.get("AWS", ()):
            found = re.search(r"(?:^|::)(\d{12})(?::|$)", name)
            if found and account and found[1] != account and not statement.conditioned_on("sts:externalid"):
                yield "another account may take it, without an external id"
        for name in statement.principals.get("Service", ()):
            service = name.partition(".")[0]
            scoped = statement.conditioned_on("aws:sourceaccount", "aws:sourcearn", "aws:sourceorgid")
            if service not in _CONFUSED and not scoped:
                yield f"{name} may take it for anyone's resources: aws:SourceAccount is not asked for"
        if statement.principals.get("Federated"):
            names = {key for block in statement.condition.values() for key in block}
            if not any(name.endswith(":sub") for name in names):
                yield "every identity of its issuer may take it: the subject is not asked for"
            if not any(name.endswith(":aud") for name in names):
                yield "tokens that were made for others are taken: the audience is not asked for"
            loose = [
                value
                for block in statement.condition.values()
                for key, values in block.items()
                if key.endswith(":sub")
                for value in values
            ]
            if any(re.search(r"(^\*|:\*:|serviceaccount:\*|repo:\*)", value) for value in loose):
                yield "every identity of its issuer may take it: the subject is a wildcard"


def _pod_trust(resource: Resource, _graph: Graph) -> Faults:
    for statement in iam.statements(iam.document(resource, "assumeRolePolicy")):
        if "pods.eks.amazonaws.com" not in statement.principals.get("Service", ()):
            continue
        for key in ("aws:requesttag/kubernetes-namespace", "aws:requesttag/kubernetes-service-account"):
            if not statement.conditioned_on(key):
                yield f"pods of others may take it: {key} is not asked for"


def _managed(resource: Resource, _graph: Graph) -> Faults:
    arn = str(resource.inputs.get("policyArn") or "")
    found = _POWERFUL.search(arn)
    if found:
        yield f"{found[1]} is far more than any part needs"


def _managed_inline(resource: Resource, _graph: Graph) -> Faults:
    for arn in resource.inputs.get("managedPolicyArns") or ():
        found = _POWERFUL.search(str(arn))
        if found:
            yield f"{found[1]} is far more than any part needs"


def _node_role(resource: Resource, graph: Graph) -> Faults:
    for statement in iam.statements(iam.document(resource, "assumeRolePolicy")):
        if "ec2.amazonaws.com" not in statement.principals.get("Service", ()):
            return
    for attachment in graph.attached(resource, "aws:iam/rolePolicyAttachment:RolePolicyAttachment", "role"):
        name = str(attachment.inputs.get("policyArn") or "").rpartition("/")[2]
        if not is_unknown(attachment.inputs.get("policyArn")) and name not in _NODE_POLICIES:
            yield f"every pod of the node could have the rights of {name}"
    for statement in iam.statements(iam.of_role(resource, graph)):
        data = [
            one
            for one in statement.actions
            if one.lower().startswith(("s3:", "secretsmanager:", "rds-db:", "kms:decrypt"))
        ]
        if statement.allows and data:
            yield f"every pod of the node could use {data[0]}"


def _resource_policy(resource: Resource, _graph: Graph) -> Faults:
    if resource.type in ("aws:kms/key:Key", "aws:kms/keyPolicy:KeyPolicy", "aws:ec2/vpcEndpoint:VpcEndpoint"):
        return
    for statement in iam.statements(iam.document(resource, iam.OWNED[resource.type])):
        if (
            statement.allows
            and statement.anyone
            and not statement.conditioned_on(
                "aws:principalaccount", "aws:sourceaccount", "aws:principalorgid", "aws:sourcearn", "aws:sourcevpce"
            )
        ):
            yield "its policy lets everyone in"


def _resource_accounts(resource: Resource, graph: Graph) -> Faults:
    substrate = graph.settings.substrate
    account = substrate.account_id if substrate else None
    for statement in iam.statements(iam.document(resource, iam.OWNED[resource.type])):
        for name in statement.principals.get("AWS", ()) if statement.allows else ():
            found = re.search(r"(?:^|::)(\d{12})(?::|$)", name)
            if found and account and found[1] != account:
                yield "its policy lets another account in"


def _deputies(resource: Resource, _graph: Graph) -> Faults:
    """A service that acts for anyone may be made to act on our resource for a stranger."""
    for statement in iam.statements(iam.document(resource, iam.OWNED[resource.type])):
        for name in statement.principals.get("Service", ()) if statement.allows else ():
            # EventBridge gives no account or source when it publishes.
            if not statement.condition and name.partition(".")[0] != "events":
                yield f"{name} may act on it for anyone: its policy asks for no aws:SourceAccount or aws:SourceArn"


def _shared_copies(resource: Resource, graph: Graph) -> Faults:
    substrate = graph.settings.substrate
    own = substrate.account_id if substrate else None
    shared = [resource.value("accountId"), *resource.each("sharedAccounts")]
    if any(one is not None and str(one) != own for one in shared):
        yield "it is shared with another account"
    if resource.has("group") or resource.has("organizationArn") or resource.has("organizationalUnitArn"):
        yield "it is shared with many accounts"


def _administrators(resource: Resource, graph: Graph) -> Faults:
    if not str(resource.inputs.get("policyArn") or "").endswith(("ClusterAdminPolicy", "AmazonEKSAdminPolicy")):
        return
    named = graph.settings.administrators
    if named and resource.inputs.get("principalArn") not in named:
        yield "it administers the cluster, and the stack's file does not say so"


def _roles_of_pods(graph: Graph) -> dict[str, list[Resource]]:
    """Associations by the URN of the role that they give."""
    found: dict[str, list[Resource]] = {}
    for association in graph.of("aws:eks/podIdentityAssociation:PodIdentityAssociation"):
        for role in graph.targets(association, "roleArn"):
            found.setdefault(role.urn, []).append(association)
    return found


def _reach(resource: Resource, graph: Graph) -> Faults:
    role = next(iter(graph.targets(resource, "roleArn")), None)
    if role is None:
        return
    for statement in iam.statements(iam.of_role(role, graph)):
        if not statement.allows:
            continue
        actions = {action.lower() for action in statement.actions}
        if any(
            one in ("s3:getobject", "s3:putobject", "s3:deleteobject", "s3:*") or one.startswith("s3:get")
            for one in actions
        ):
            for one in statement.resources:
                if (
                    one == "*"
                    or re.fullmatch(r"arn:aws:s3:::[^/]*\*[^/]*(/.*)?", one)
                    or re.fullmatch(r"arn:aws:s3:::[^/]+/\*", one)
                ):
                    yield "its pods reach every object of a bucket, those of other services too"
        if any(one.startswith("secretsmanager:get") or one == "secretsmanager:*" for one in actions):
            for one in statement.resources:
                name = one.rpartition(":secret:")[2]
                if one == "*" or name in ("*", "") or re.fullmatch(r"falaj(-[a-z]+)?[-/]\*", name):
                    yield "its pods read every secret of the stack"


def _tenants(resource: Resource, graph: Graph) -> Faults:
    """A pod that works for one controller reaches a bucket of another: by the tag and the label `controller`."""
    role = next(iter(graph.targets(resource, "roleArn")), None)
    space = str(resource.inputs.get("namespace"))
    owner = None
    for one in graph.of("kubernetes:core/v1:Namespace"):
        if (one.inputs.get("metadata") or {}).get("name") == space:
            owner = pods.label(one, "falaj.ae/controller")
    if role is None:
        return
    reached = " ".join(
        one for statement in iam.statements(iam.of_role(role, graph)) if statement.allows for one in statement.resources
    )
    for bucket in graph.of("aws:s3/bucket:Bucket"):
        tenant = (bucket.inputs.get("tags") or {}).get("controller")
        name = str(bucket.inputs.get("bucket") or bucket.name)
        if tenant is not None and tenant != owner and re.search(rf"arn:aws:s3:::{re.escape(name)}(?:/|$|\s)", reached):
            yield f"its pods reach {bucket.name}, which holds data of controller {tenant}"


def _shared_role(resource: Resource, graph: Graph) -> Faults:
    given = _roles_of_pods(graph).get(resource.urn, [])
    accounts = {(one.inputs.get("namespace"), one.inputs.get("serviceAccount")) for one in given}
    if len(accounts) > 1:
        yield f"{len(accounts)} service accounts share it, so that none can be told from the other"


def _default_account(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("serviceAccount") == "default":
        yield "every pod of the namespace that names no service account gets it"


def _verbs(resource: Resource) -> list[tuple[set[str], set[str], set[str]]]:
    found: list[tuple[set[str], set[str], set[str]]] = []
    for rule in resource.inputs.get("rules") or ():
        if isinstance(rule, dict):
            sets = [set(map(str, rule.get(key) or ())) for key in ("apiGroups", "resources", "verbs")]
            found.append((sets[0], sets[1], sets[2]))
    return found


def _rbac_wildcard(resource: Resource, _graph: Graph) -> Faults:
    for groups, resources, verbs in _verbs(resource):
        if "*" in verbs:
            yield "it grants every verb"
        if "*" in resources:
            yield "it grants a verb on every kind of object"
        if "*" in groups:
            yield "it grants a verb in every group of the API"


def _rbac_escalation(resource: Resource, _graph: Graph) -> Faults:
    for _, resources, verbs in _verbs(resource):
        if verbs & {"bind", "escalate", "impersonate"}:
            yield f"it grants {', '.join(sorted(verbs & {'bind', 'escalate', 'impersonate'}))}"
        if resources & {"serviceaccounts/token"} and "create" in verbs:
            yield "it makes tokens of service accounts"
        if resources & {"nodes/proxy"}:
            yield "it reaches every pod through the nodes (nodes/proxy)"
        if resources & {"pods/exec", "pods/attach"} and verbs & {"create", "get"}:
            yield "it opens shells in pods"


def _rbac_secrets(resource: Resource, _graph: Graph) -> Faults:
    for _, resources, verbs in _verbs(resource):
        if resources & {"secrets", "*"} and verbs & {"get", "list", "watch", "*"}:
            if resource.type == _RBAC[0]:
                yield "it reads the secrets of every namespace"
            elif verbs & {"list", "watch", "*"}:
                yield "it reads every secret of its namespace"


def _rbac_bindings(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("roleRef.name") in ("cluster-admin", "admin") and resource.type == _BINDINGS[0]:
        yield f"it binds {resource.value('roleRef.name')} in the whole cluster"
    for subject in resource.inputs.get("subjects") or ():
        if isinstance(subject, dict):
            if subject.get("name") in ("system:anonymous", "system:unauthenticated", "system:authenticated"):
                yield f"it gives rights to {subject['name']}"
            if subject.get("name") in _SYSTEM_ROLES:
                yield "it gives rights to system:masters"
            if subject.get("kind") == "ServiceAccount" and subject.get("name") == "default":
                yield "it gives rights to a default service account"


def _access_mode(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("accessConfig.authenticationMode") != "API":
        yield "its ConfigMap aws-auth still gives rights: authenticationMode is not API"
    if resource.value("accessConfig.bootstrapClusterCreatorAdminPermissions", True) is not False:
        yield "whoever creates it administers it for good"


def _searchers(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("advancedSecurityOptions.enabled") is not True:
        yield "who comes in may do everything: it has no rights by role"
    if resource.value("advancedSecurityOptions.anonymousAuthEnabled") is True:
        yield "it lets the nameless in"


def _cache_user(resource: Resource, _graph: Graph) -> Faults:
    rights = str(resource.value("accessString", ""))
    if resource.value("userName") == "default":
        if not rights.startswith("off"):
            yield "user default may do something"
        return
    free = resource.value("noPasswordRequired") is True
    if free or resource.value("authenticationMode.type") == "no-password-required":
        yield "it needs no password"
    if "+@all" in rights and not {"-@dangerous", "-@admin"} <= set(rights.split()):
        yield "it may administer the cache"


def _masters(resource: Resource, graph: Graph) -> Faults:
    if "system:masters" in resource.each("kubernetesGroups"):
        yield "it is of system:masters, which no rule of the cluster limits"
    if (
        graph.settings.production
        and resource.value("type", "STANDARD") == "STANDARD"
        and ":user/" in str(resource.inputs.get("principalArn"))
    ):
        yield "it is of a user, and users have keys that last"


RULES: tuple[Rule, ...] = (
    Rule(
        id="iam-admin",
        title="No policy grants everything, or everything of a service",
        severity=_CRITICAL,
        types=_IDENTITY,
        why=_WHY,
        remedy=_REMEDY,
        controls=ACCESS,
        judge=_rights(_admin),
        known_as=("CKV_AWS_62", "CKV_AWS_63"),
    ),
    Rule(
        id="iam-wildcard-action",
        title="Policies name their actions",
        severity=_HIGH,
        types=_IDENTITY,
        why="A pattern grants what is added to it later.",
        remedy=_REMEDY,
        controls=ACCESS,
        judge=_rights(_wildcards),
    ),
    Rule(
        id="iam-unbounded",
        title="What changes something names what it changes",
        severity=_HIGH,
        types=tuple(iam.IDENTITY),
        why=_WHY,
        remedy=f"{_REMEDY} Where an action knows no resource, add a condition.",
        controls=ACCESS,
        judge=_rights(_unbounded),
        known_as=("CKV_AWS_355", "CKV_AWS_290"),
    ),
    Rule(
        id="iam-escalation",
        title="No role can give itself more rights",
        severity=_CRITICAL,
        types=_IDENTITY,
        why="Two harmless rights together can be a way to all rights.",
        remedy=_REMEDY,
        controls=ACCESS,
        judge=_rights(_role_rights("escalation", "it leads to more rights")),
        known_as=("CKV_AWS_286",),
    ),
    Rule(
        id="iam-exfiltration",
        title="No role reads the data of everything",
        severity=_CRITICAL,
        types=_IDENTITY,
        why=_WHY,
        remedy=_REMEDY,
        controls=("pdpl-20", "iso-8.12", "ia-t7.6.4", "gdpr-32"),
        judge=_rights(_role_rights("exfiltration", "it reads all that there is")),
        known_as=("CKV_AWS_288",),
    ),
    Rule(
        id="iam-rights-management",
        title="No role changes the rights of everything",
        severity=_CRITICAL,
        types=_IDENTITY,
        why="Whoever may change rights has them.",
        remedy=_REMEDY,
        controls=ACCESS,
        judge=_rights(_role_rights("rights", "it changes rights everywhere")),
        known_as=("CKV_AWS_289",),
    ),
    Rule(
        id="iam-pass-role",
        title="A role that can be handed on is named",
        severity=_CRITICAL,
        types=_IDENTITY,
        why="A service that was given a stronger role acts with it.",
        remedy="Name the role in the statement of iam:PassRole, and the service in iam:PassedToService.",
        controls=ACCESS,
        judge=_rights(_pass_role),
    ),
    Rule(
        id="iam-assume-role",
        title="A role that can be taken is named",
        severity=_CRITICAL,
        types=_IDENTITY,
        why=_WHY,
        remedy="Name the role in the statement of sts:AssumeRole.",
        controls=ACCESS,
        judge=_rights(_assume),
    ),
    Rule(
        id="iam-trust",
        title="Roles say exactly who may take them",
        severity=_CRITICAL,
        types=(iam.ROLE,),
        why="A service can be made to act for a stranger, and an issuer knows many.",
        remedy="Add aws:SourceAccount and aws:SourceArn, or subject and audience: infra/substrates/aws/account.py.",
        controls=ACCESS,
        judge=_rights(_trust),
        known_as=("CKV_AWS_60", "CKV_AWS_61", "CKV_AWS_358"),
    ),
    Rule(
        id="iam-pod-trust",
        title="Roles of pods name namespace and service account",
        severity=_HIGH,
        types=(iam.ROLE,),
        why="Otherwise an association made by mistake gives it to another pod.",
        remedy="Bind it as infra/substrates/aws/identities.py does.",
        controls=(*ACCESS, "cis-eks-5.2.1"),
        judge=_rights(_pod_trust),
    ),
    Rule(
        id="iam-managed-policy",
        title="No broad policy of Amazon's is attached",
        severity=_CRITICAL,
        types=(
            "aws:iam/groupPolicyAttachment:GroupPolicyAttachment",
            "aws:iam/policyAttachment:PolicyAttachment",
            "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
            "aws:iam/userPolicyAttachment:UserPolicyAttachment",
        ),
        why="They grant all of a service, now and later.",
        remedy=_REMEDY,
        controls=ACCESS,
        judge=_managed,
        known_as=("CKV_AWS_274",),
    ),
    Rule(
        id="iam-managed-inline",
        title="No broad policy of Amazon's is part of a role",
        severity=_CRITICAL,
        types=(iam.ROLE,),
        why="They grant all of a service, now and later.",
        remedy=_REMEDY,
        controls=ACCESS,
        judge=_managed_inline,
    ),
    Rule(
        id="iam-node-role",
        title="Nodes have the rights of a node alone",
        severity=_HIGH,
        types=(iam.ROLE,),
        why="A pod that reaches the node has its rights.",
        remedy="Give rights to service accounts, by Pod Identity: infra/services.",
        controls=(*ACCESS, "cis-eks-5.1.3", "cis-eks-5.2.1"),
        judge=_rights(_node_role),
    ),
    Rule(
        id="iam-users",
        title="There are no users, and no keys that last",
        severity=_CRITICAL,
        types=("aws:iam/accessKey:AccessKey", "aws:iam/user:User", "aws:iam/userLoginProfile:UserLoginProfile"),
        why="A key that never ends is found one day.",
        remedy="Remove it: people and programs take roles.",
        controls=AUTHENTICATION,
        judge=forbidden("people and programs take roles, and have no users of their own"),
        known_as=("CKV_AWS_273",),
    ),
    Rule(
        id="policy-everyone",
        title="No bucket, topic, queue, secret, image or vault is open to everyone",
        severity=_CRITICAL,
        types=tuple(iam.OWNED),
        why="It is the most common leak there is.",
        remedy="Name principals, or add aws:PrincipalAccount, in its policy: infra/substrates/aws.",
        controls=ACCESS,
        judge=_rights(_resource_policy),
        known_as=("CKV_AWS_70", "CKV_AWS_169", "CKV_AWS_168", "CKV_AWS_32"),
    ),
    Rule(
        id="policy-other-account",
        title="No other account is let in",
        severity=_HIGH,
        types=tuple(iam.OWNED),
        why="What another account reads, its rules govern.",
        remedy="Remove the account from the policy, or record an exception with its legal basis.",
        controls=("pdpl-7-8", *ACCESS),
        judge=_rights(_resource_accounts),
    ),
    Rule(
        id="policy-deputies",
        title="Services act on what is ours for us alone",
        severity=_HIGH,
        types=tuple(iam.OWNED),
        why="A service that acts for anyone can be made to act for a stranger.",
        remedy="Add aws:SourceAccount to the statement in infra/substrates/aws.",
        controls=ACCESS,
        judge=_rights(_deputies),
    ),
    Rule(
        id="copies-shared",
        title="Snapshots and images of machines are shared with no one",
        severity=_CRITICAL,
        types=(
            "aws:ec2/amiLaunchPermission:AmiLaunchPermission",
            "aws:ec2/snapshotCreateVolumePermission:SnapshotCreateVolumePermission",
            "aws:rds/clusterSnapshot:ClusterSnapshot",
            "aws:rds/snapshot:Snapshot",
        ),
        why="A copy is the data.",
        remedy="Remove the permission from infra/substrates/aws.",
        controls=("pdpl-7-8", "iso-8.12", "ia-t7.6.4", "gdpr-32"),
        judge=_shared_copies,
    ),
    Rule(
        id="eks-administrators",
        title="Those administer the cluster whom the stack's file names",
        severity=_CRITICAL,
        types=("aws:eks/accessPolicyAssociation:AccessPolicyAssociation",),
        why="An administrator reads every secret.",
        remedy="Name the role in substrate.cluster.access in stacks/Pulumi.<stack>.yaml, or remove it.",
        controls=(*ACCESS, "cis-eks-4.1.1", "cis-eks-5.5.1"),
        judge=_administrators,
    ),
    Rule(
        id="s3-public-block",
        title="Buckets cannot be made public",
        severity=_CRITICAL,
        types=("aws:s3/bucket:Bucket",),
        why="It is the most common leak there is.",
        remedy="Leave all four settings of the public access block true in infra/substrates/aws/buckets.py.",
        controls=ACCESS,
        judge=lambda resource, graph: _public_block(resource, graph),
        known_as=("CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_55", "CKV_AWS_56"),
    ),
    Rule(
        id="s3-acl",
        title="Buckets know no access lists",
        severity=_HIGH,
        types=(
            "aws:s3/bucket:Bucket",
            "aws:s3/bucketAcl:BucketAcl",
            "aws:s3/bucketWebsiteConfiguration:BucketWebsiteConfiguration",
        ),
        why="An object's own list can open it where the bucket's policy is closed.",
        remedy="Leave the ownership BucketOwnerEnforced in infra/substrates/aws/buckets.py.",
        controls=ACCESS,
        judge=lambda resource, graph: _acl(resource, graph),
        known_as=("CKV2_AWS_65",),
    ),
    Rule(
        id="pod-reach",
        title="The role of a pod reaches its own data alone",
        severity=_CRITICAL,
        types=("aws:eks/podIdentityAssociation:PodIdentityAssociation",),
        why="A service that is taken over would give out the data of all others.",
        remedy="Declare the stores that it reads and writes: infra/services.",
        controls=ACCESS,
        judge=_rights(_reach),
    ),
    Rule(
        id="pod-tenant",
        title="The role of a pod does not reach another tenant's data",
        severity=_CRITICAL,
        types=("aws:eks/podIdentityAssociation:PodIdentityAssociation",),
        why="A controller may see its own subjects alone.",
        remedy="Give the bucket's tag controller and the namespace's label falaj.ae/controller one "
        "value, or remove the right.",
        controls=("pdpl-7-8", *ACCESS),
        judge=_rights(_tenants),
    ),
    Rule(
        id="pod-role-shared",
        title="Each service account has a role of its own",
        severity=_MEDIUM,
        types=(iam.ROLE,),
        why="The trail cannot tell who of them did something.",
        remedy="Bind each service account by cluster.identity(…).",
        controls=(*ACCESS, "cis-eks-5.2.1"),
        judge=_shared_role,
    ),
    Rule(
        id="pod-default-account",
        title="No role is given to a default service account",
        severity=_HIGH,
        types=("aws:eks/podIdentityAssociation:PodIdentityAssociation",),
        why="Every pod that names no account gets it.",
        remedy="Name a service account of the workload's own.",
        controls=(*ACCESS, "cis-eks-4.1.5"),
        judge=_default_account,
    ),
    Rule(
        id="eks-access",
        title="Who may use the cluster is in access entries alone",
        severity=_HIGH,
        types=("aws:eks/cluster:Cluster",),
        why="Rights in two places are forgotten in one.",
        remedy="Leave authentication_mode API in infra/substrates/aws/cluster.py; people are in "
        "substrate.cluster.access.",
        controls=(*ACCESS, "cis-eks-5.5.1"),
        judge=_access_mode,
    ),
    Rule(
        id="eks-access-entry",
        title="Access entries are of roles, and of no group without limits",
        severity=_HIGH,
        types=("aws:eks/accessEntry:AccessEntry",),
        why="No rule of the cluster limits system:masters, and users have keys that last.",
        remedy="Name roles in substrate.cluster.access in stacks/Pulumi.<stack>.yaml.",
        controls=(*ACCESS, "cis-eks-4.1.7"),
        judge=_masters,
    ),
    Rule(
        id="rbac-wildcard",
        title="Roles of the cluster name verbs and kinds",
        severity=_HIGH,
        types=_RBAC,
        why="A wildcard grants what is added later.",
        remedy="Name verbs and resources.",
        controls=(*ACCESS, "cis-eks-4.1.3"),
        judge=_rbac_wildcard,
        known_as=("CKV_K8S_49",),
    ),
    Rule(
        id="rbac-escalation",
        title="Roles of the cluster lead to no more rights",
        severity=_CRITICAL,
        types=_RBAC,
        why="Who may bind, impersonate or make tokens has the rights of others.",
        remedy="Remove the verb.",
        controls=(*ACCESS, "cis-eks-4.1.8"),
        judge=_rbac_escalation,
        known_as=("CKV_K8S_157", "CKV_K8S_158"),
    ),
    Rule(
        id="rbac-secrets",
        title="No role reads the secrets of a namespace, or of all",
        severity=_HIGH,
        types=_RBAC,
        why="Secrets of all services in one hand.",
        remedy="Make it a Role in one namespace, with resourceNames.",
        controls=(*ACCESS, "cis-eks-4.1.2"),
        judge=_rbac_secrets,
    ),
    Rule(
        id="rbac-binding",
        title="No binding gives the cluster away",
        severity=_CRITICAL,
        types=_BINDINGS,
        why=_WHY,
        remedy="Bind a role that names what is needed to a service account of its own.",
        controls=(*ACCESS, "cis-eks-4.1.1", "cis-eks-4.1.5"),
        judge=_rbac_bindings,
    ),
    Rule(
        id="service-account-token",
        title="Service accounts give their token to pods that ask for it alone",
        severity=_MEDIUM,
        types=("kubernetes:core/v1:ServiceAccount",),
        why="A token in a pod that does not need it helps only who takes the pod over.",
        remedy="Leave cluster_api false on the workload: infra/services.",
        controls=(*HARDENING, "cis-eks-4.1.6"),
        judge=lambda resource, graph: (
            []
            if resource.value("automountServiceAccountToken") is False or _asks(resource, graph)
            else ["its token is mounted into every pod"]
        ),
        known_as=("CKV_K8S_38",),
    ),
    Rule(
        id="cache-authenticated",
        title="Clients of the cache say who they are",
        severity=_HIGH,
        types=("aws:elasticache/replicationGroup:ReplicationGroup",),
        why="Without it every pod that reaches the port reads all features.",
        remedy="Leave the user group in infra/substrates/aws/cache.py.",
        controls=AUTHENTICATION,
        judge=lambda resource, _graph: (
            []
            if resource.has("userGroupIds") or resource.has("authToken")
            else ["neither userGroupIds nor authToken is set"]
        ),
        known_as=("CKV_AWS_31",),
    ),
    Rule(
        id="cache-default-user",
        title="The cache's default user can do nothing, and no user everything",
        severity=_HIGH,
        types=("aws:elasticache/user:User",),
        why="Whoever gives no name is the default user.",
        remedy="Leave its access string off in infra/substrates/aws/cache.py.",
        controls=AUTHENTICATION,
        judge=_cache_user,
    ),
    Rule(
        id="search-access",
        title="Search domains ask who comes in",
        severity=_HIGH,
        types=("aws:opensearch/domain:Domain",),
        why="Within the network every pod could read every log.",
        remedy="Leave fine-grained access on in infra/substrates/aws.",
        controls=AUTHENTICATION,
        judge=_searchers,
        known_as=("CKV_AWS_317",),
    ),
    Rule(
        id="eks-addon-identity",
        title="Parts of the cluster get rights by Pod Identity",
        severity=_MEDIUM,
        types=("aws:eks/addon:Addon",),
        why="A role by token of the cluster's issuer is taken by whoever can make tokens.",
        remedy="Use pod_identity_associations in infra/substrates/aws/cluster.py.",
        controls=(*ACCESS, "cis-eks-5.2.1"),
        judge=lambda resource, _graph: (
            ["it has a role by the cluster's issuer"] if resource.has("serviceAccountRoleArn") else []
        ),
    ),
    Rule(
        id="lambda-public",
        title="Functions are not called by everyone",
        severity=_HIGH,
        types=("aws:lambda/functionUrl:FunctionUrl",),
        why="A function's address is on the internet.",
        remedy="Set authorization_type to AWS_IAM.",
        controls=ACCESS,
        judge=among("authorizationType", "AWS_IAM"),
        known_as=("CKV_AWS_258",),
    ),
    Rule(
        id="instance-connect",
        title="Nothing opens a serial console",
        severity=_MEDIUM,
        types=("aws:ec2/serialConsoleAccess:SerialConsoleAccess",),
        why="It goes around every rule of the network.",
        remedy="Remove it from infra/substrates/aws.",
        controls=ACCESS,
        judge=not_true("enabled"),
    ),
)


def _public_block(resource: Resource, graph: Graph) -> Faults:
    blocks = graph.attached(resource, "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "bucket")
    if not blocks:
        yield "it has no public access block"
    for block in blocks:
        for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"):
            if block.value(key) is not True:
                yield f"{key} is not true"


def _acl(resource: Resource, graph: Graph) -> Faults:
    if resource.type != "aws:s3/bucket:Bucket":
        yield "it is a public web site" if "Website" in resource.type else "it is an access list"
        return
    if resource.has("acl") or resource.has("grants"):
        yield "it has an access list"
    found = graph.attached(resource, "aws:s3/bucketOwnershipControls:BucketOwnershipControls", "bucket")
    for one in found:
        if one.value("rule.objectOwnership") != "BucketOwnerEnforced":
            yield "objects may have owners and lists of their own"


def _asks(resource: Resource, graph: Graph) -> bool:
    """Whether a pod of the graph that uses the account asks for its token."""
    name = (resource.inputs.get("metadata") or {}).get("name")
    space = pods.namespace(resource)
    for kind in pods.TYPES:
        for one in graph.of(kind):
            for pod in pods.pods(one):
                if pods.namespace(one) == space and pod.spec.get("serviceAccountName") == name:
                    return pod.spec.get("automountServiceAccountToken") is True
    return False
