import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pulumi
import pytest
from pulumi import CustomResource, ResourceOptions

from core.errors import ConfigError, PlanError
from falaj.commands.plan import GOLDENS, graph
from infra.plan import SECRET, UNKNOWN, Graph, read_stack, record

ROOT = Path(__file__).resolve().parents[2]


class Group(pulumi.ComponentResource):
    def __init__(self, name: str, opts: ResourceOptions | None = None) -> None:
        super().__init__("test:index:Group", name, None, opts)


class Provider(pulumi.ProviderResource):
    def __init__(self, group: Group) -> None:
        super().__init__("cloud", "cloud", {}, ResourceOptions(parent=group))


def bucket(name: str, props: dict[str, object], opts: ResourceOptions) -> CustomResource:
    return CustomResource("cloud:storage:Bucket", name, props, opts)


def within(group: Group) -> ResourceOptions:
    return ResourceOptions(parent=group, provider=Provider(group))


def plan(program: Callable[[], object], config: dict[str, object] | None = None) -> Graph:
    return record("test", config or {}, lambda: (program(), None)[1])


@pytest.mark.parametrize("stack", sorted(file.stem for file in GOLDENS.glob("*.json")))
def test_a_stack_is_what_its_golden_says(stack: str) -> None:
    golden = (GOLDENS / f"{stack}.json").read_text()
    found = graph(stack)
    before = {resource["urn"]: resource for resource in json.loads(golden)["resources"]}
    after = {resource.urn: resource.document() for resource in found.resources}
    changed = sorted(urn for urn in before.keys() | after.keys() if before.get(urn) != after.get(urn))
    assert changed == [], f"if this is meant, run `falaj plan {stack} --write-goldens` and review the difference"
    assert found.to_json() == golden


def test_the_plan_does_not_depend_on_where_the_project_lies(tmp_path: Path) -> None:
    for folder in ("stacks", "monitoring"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    assert graph("local", tmp_path).to_json() == graph("local").to_json()


def test_the_graph_keeps_what_was_registered() -> None:
    def program() -> None:
        group = Group("group")
        options = within(group)
        first = bucket("first", {"size": 3, "share": 0.5, "tags": {"a": "b"}}, options)
        late = ResourceOptions(depends_on=[first], protect=True, retain_on_delete=True, ignore_changes=["size"])
        bucket("second", {"source": first.id}, ResourceOptions.merge(options, late))
        pulumi.export("first", first.id)

    found = plan(program)
    by_name = {resource.name: resource for resource in found.resources}
    first, second = by_name["first"], by_name["second"]
    assert first.urn == "urn:pulumi:test::falaj::test:index:Group$cloud:storage:Bucket::first"
    assert first.inputs == {"size": 3, "share": 0.5, "tags": {"a": "b"}}
    assert first.parent == by_name["group"].urn
    assert first.provider == by_name["cloud"].urn
    assert second.inputs == {"source": "<cloud:storage:Bucket::first.id>"}
    assert second.dependencies == (first.urn,)
    assert second.property_dependencies == {"source": (first.urn,)}
    assert second.options == {"protect": True, "retain_on_delete": True, "ignore_changes": ["size"]}
    assert found.outputs == {"first": "<cloud:storage:Bucket::first.id>"}
    assert found.counts() == {"cloud:storage:Bucket": 2, "pulumi:providers:cloud": 1}


def test_an_explicit_dependency_is_told_from_a_reference() -> None:
    def program() -> None:
        options = within(Group("group"))
        first = bucket("first", {}, options)
        bucket("second", {}, ResourceOptions.merge(options, ResourceOptions(depends_on=[first])))

    second = next(resource for resource in plan(program).resources if resource.name == "second")
    assert second.options == {"depends_on": list(second.dependencies)}
    assert len(second.dependencies) == 1


def test_what_only_the_provider_knows_becomes_a_symbol() -> None:
    from pulumi_aws import Provider as Aws
    from pulumi_aws import kms

    def program() -> None:
        group = Group("group")
        aws = Aws("aws", region="me-central-1", opts=ResourceOptions(parent=group))
        options = ResourceOptions(parent=group, provider=aws)
        key = kms.Key("raw", opts=options)
        policy = pulumi.Output.json_dumps({"Resource": key.arn})
        kms.KeyPolicy("raw", key_id=key.key_id, policy=policy, opts=options)
        kms.Alias("alias", target_key_id=key.arn.apply(str.lower), opts=options)

    by_type = {resource.type: resource for resource in plan(program).resources}
    policy = by_type["aws:kms/keyPolicy:KeyPolicy"]
    assert json.loads(policy.inputs["policy"]) == {"Resource": "<aws:kms/key:Key::raw.arn>"}
    assert policy.inputs["keyId"] == "<aws:kms/key:Key::raw.keyId>"
    assert by_type["aws:kms/alias:Alias"].dependencies == (by_type["aws:kms/key:Key"].urn,)


async def _value(value: object) -> object:
    return value


def test_what_no_one_can_know_is_marked() -> None:
    def program() -> None:
        unknown = pulumi.Output(set(), _value("x"), is_known=_value(False))  # type: ignore[arg-type]
        first = bucket("first", {"plain": pulumi.Output.from_input("x").apply(str.upper), "unknown": unknown}, opts())
        pulumi.export("id", first.id)

    def opts() -> ResourceOptions:
        return within(Group("group"))

    first = next(resource for resource in plan(program).resources if resource.name == "first")
    assert first.inputs == {"plain": "X", "unknown": UNKNOWN}


def test_a_secret_is_masked_wherever_it_goes() -> None:
    def program() -> None:
        password = pulumi.Config().require_secret("password")
        options = within(Group("group"))
        first = bucket("first", {"password": password, "url": pulumi.Output.concat("db://", password)}, options)
        bucket("second", {"nested": {"from": password}, "echo": first.id}, options)
        pulumi.export("password", password)

    found = plan(program, {"falaj:password": {"secure": "v1:AAAA"}})
    by_name = {resource.name: resource for resource in found.resources}
    assert by_name["first"].inputs == {"password": SECRET, "url": SECRET}
    assert by_name["second"].inputs["nested"] == {"from": SECRET}
    assert found.outputs == {"password": SECRET}


class Login(CustomResource):
    pulumi_type = "cloud:users:Login"
    password: pulumi.Output[str] = pulumi.property("password")

    def __init__(self, name: str, opts: ResourceOptions) -> None:
        secret = ResourceOptions(additional_secret_outputs=["password"])
        super().__init__(self.pulumi_type, name, {"password": None}, ResourceOptions.merge(opts, secret))


def test_an_output_that_the_provider_calls_secret_is_one() -> None:
    def program() -> None:
        pulumi.export("password", Login("login", within(Group("group"))).password)

    assert plan(program).outputs == {"password": SECRET}


def _duplicate() -> None:
    options = within(Group("group"))
    bucket("first", {}, options)
    bucket("first", {}, options)


def _duplicate_below_another() -> None:
    options = within(Group("group"))
    bucket("first", {}, options)
    bucket("first", {}, ResourceOptions.merge(options, ResourceOptions(parent=Group("other", options))))


def _orphan() -> None:
    group = Group("group")
    bucket("first", {}, ResourceOptions(provider=Provider(group)))


def _default_provider() -> None:
    bucket("first", {}, ResourceOptions(parent=Group("group")))


def _remote_default_provider() -> None:
    pulumi.ComponentResource("cloud:charts:Chart", "chart", {}, ResourceOptions(parent=Group("group")), remote=True)


def _dangling() -> None:
    group = Group("group")
    urn = "urn:pulumi:test::falaj::cloud:storage:Bucket::gone"
    gone = pulumi.resource.DependencyResource(urn)
    bucket("first", {}, ResourceOptions.merge(within(group), ResourceOptions(deleted_with=gone)))


def _clear_secret() -> None:
    password = pulumi.Config().require_secret("password")
    options = within(Group("group"))
    bucket("first", {"password": password}, options)
    bucket("second", {"note": pulumi.Output.unsecret(password).apply(lambda text: f"it is {text}")}, options)


def _clear_secret_in_an_output() -> None:
    pulumi.export("note", pulumi.Config().require("password"))


def _clear_secret_in_code() -> None:
    options = within(Group("group"))
    bucket("first", {"password": pulumi.Output.secret("correct horse")}, options)
    bucket("second", {"args": ["--password=correct horse"]}, options)


def _invoke() -> None:
    pulumi.runtime.invoke("cloud:index:account", {}, pulumi.InvokeOptions(provider=Provider(Group("group"))))


def _read() -> None:
    options = ResourceOptions.merge(within(Group("group")), ResourceOptions(id="there"))
    bucket("first", {}, options)


_runs = itertools.count()


def _random() -> None:
    bucket("first", {"run": next(_runs)}, within(Group("group")))


def _random_name() -> None:
    bucket(f"first-{next(_runs)}", {}, within(Group("group")))


def _random_output() -> None:
    pulumi.export("run", next(_runs))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (_duplicate, "cloud:storage:Bucket first is declared 2 times"),
        (_duplicate_below_another, "cloud:storage:Bucket first is declared 2 times"),
        (_orphan, "cloud:storage:Bucket first has no parent"),
        (_default_provider, "cloud:storage:Bucket first would use a default provider of cloud"),
        (_remote_default_provider, "cloud:charts:Chart chart would use a default provider of cloud"),
        (_dangling, "first refers to urn:pulumi:test::falaj::cloud:storage:Bucket::gone, which is not in the stack"),
        (_clear_secret, r"second shows a secret in clear at inputs\.note"),
        (_clear_secret_in_an_output, r"falaj-test shows a secret in clear at outputs\.note"),
        (_clear_secret_in_code, r"second shows a secret in clear at inputs\.args\[0\]"),
        (_invoke, "cloud:index:account asks the provider, and a plan has no account"),
        (_read, "asks the provider, and a plan has no account"),
        (_random, "inputs of urn:pulumi:test::falaj::test:index:Group.cloud:storage:Bucket::first"),
        (_random_name, "is in one of two runs alone"),
        (_random_output, "differs from run to run: its outputs"),
    ],
)
def test_what_mocks_forgive_is_refused(program: Callable[[], None], message: str) -> None:
    with pytest.raises(PlanError, match=message) as caught:
        plan(program, {"falaj:password": {"secure": "v1:AAAA"}})
    assert "correct horse" not in str(caught.value)


def test_an_error_in_the_program_is_shown_at_once() -> None:
    def program() -> None:
        first = bucket("first", {}, within(Group("group")))
        bucket("second", {"source": first.id}, within(Group("group")))
        raise ConfigError("the program found a fault")

    with pytest.raises(ConfigError, match="the program found a fault"):
        plan(program)


def test_equal_names_of_different_types_and_short_equal_texts_are_allowed() -> None:
    def program() -> None:
        options = within(Group("group"))
        bucket("first", {"password": pulumi.Output.secret("on")}, options)
        CustomResource("cloud:storage:Policy", "first", {"note": "going on"}, options)

    assert len(plan(program).resources) == 5


def test_the_caller_keeps_its_own_settings() -> None:
    before = pulumi.get_stack()
    plan(lambda: None)
    assert pulumi.get_stack() == before


def test_an_unknown_stack_is_told_which_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no stack moon: the stacks are .*local"):
        read_stack(ROOT, "moon")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    file = tmp_path / "stacks" / "Pulumi.broken.yaml"
    file.write_text("config: [")
    with pytest.raises(ConfigError, match=r"stacks/Pulumi\.broken\.yaml is not YAML"):
        read_stack(tmp_path, "broken")
    file.write_text("config:")
    with pytest.raises(ConfigError, match=r"stacks/Pulumi\.broken\.yaml has no config"):
        read_stack(tmp_path, "broken")
