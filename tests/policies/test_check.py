"""`falaj check`: exceptions, bad input, and the forms of its result."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from typer.testing import CliRunner

from core.errors import ConfigError, DataError
from falaj.cli import app
from falaj.commands.plan import GOLDENS
from infra.plan import read_stack
from policies.documents import contracts, file_graph, read_plan, stack_graph
from policies.engine import Status, check
from policies.exceptions import apply, read_exceptions
from policies.graph import Graph
from policies.model import Resource, Untold
from policies.outcome import Outcome, examine
from policies.report.junit import junit
from policies.report.sarif import sarif
from policies.rules import RULES
from policies.settings import Settings, read_settings
from tests.policies.graphs import BASES, SECTION, TODAY, broken, graph

ROOT = Path(__file__).resolve().parents[2]
ENTRY = {
    "rule": "kms-rotation",
    "stacks": ["test"],
    "resource": "aws:kms/key:Key::key",
    "reason": "An external key.",
    "approver": "security@example.ae",
    "expires": date(2027, 1, 1),
}


def outcome(**changes: object) -> Outcome:
    return examine("test", graph(broken(BASES["bucket"], changes)), [])


def exceptions(folder: Path, *entries: dict[str, object]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "some.yaml").write_text(yaml.safe_dump(list(entries), sort_keys=False))
    return folder


def golden(stack: str) -> Outcome:
    plan = json.loads((GOLDENS / f"{stack}.json").read_text())
    section = read_stack(ROOT, stack)["falaj:stack"]
    found = stack_graph(stack, read_plan(plan), section, contracts(ROOT), TODAY)
    return examine(stack, found, read_exceptions(ROOT / "exceptions"))


@pytest.mark.parametrize("stack", sorted(file.stem for file in GOLDENS.glob("*.json")))
def test_our_stacks_pass(stack: str) -> None:
    found = golden(stack)
    assert [(one.rule.id, one.resource.name, one.messages) for one in found.of(Status.FAIL)] == []
    assert found.problems == ()


def test_an_exception_excuses_one_resource(tmp_path: Path) -> None:
    read = read_exceptions(exceptions(tmp_path / "exceptions", ENTRY))
    found = examine("test", graph(broken(BASES["bucket"], {"key.enableKeyRotation": False})), read)
    (excused,) = found.of(Status.EXCEPTED)
    assert excused.exception == "exceptions/some.yaml:1"
    assert found.problems == ()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"expires": date(2026, 11, 21)}, "is out of date since 2026-11-21"),
        ({"resource": "aws:kms/key:Key::other"}, "does not need the exception"),
    ],
)
def test_an_exception_that_is_past_or_unused_fails(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    read = read_exceptions(exceptions(tmp_path / "exceptions", ENTRY | changes))
    found = examine("test", graph(broken(BASES["bucket"], {"key.enableKeyRotation": False})), read)
    assert found.failed
    assert "kms-rotation" in {one.rule.id for one in found.of(Status.FAIL)}
    assert any(problem in one and one.startswith("exceptions/some.yaml:1: ") for one in found.problems)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {rule: [", "exceptions/some.yaml:2: not YAML"),
        ("rule: kms-rotation", "there should be a list of exceptions"),
        ("- {rule: kms-rotation}", "exceptions/some.yaml:1: this is no exception:\n  stacks: Field required"),
        (yaml.safe_dump([ENTRY | {"rule": "kms-rotations"}]), "there is no rule kms-rotations: `falaj check --rules`"),
        (yaml.safe_dump([ENTRY | {"why": "x"}]), "why: there is no such key: remove it"),
        (yaml.safe_dump([ENTRY | {"rule": "residency-storage"}]), "say in legal_basis why they may leave it"),
    ],
)
def test_a_broken_exception_says_where_and_what(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "exceptions").mkdir()
    (tmp_path / "exceptions" / "some.yaml").write_text(text + "\n")
    with pytest.raises(ConfigError) as caught:
        read_exceptions(tmp_path / "exceptions")
    assert message in str(caught.value)


def test_an_exception_of_another_stack_excuses_nothing(tmp_path: Path) -> None:
    read = read_exceptions(exceptions(tmp_path / "exceptions", ENTRY | {"stacks": ["prod"]}))
    judged = check(graph(broken(BASES["bucket"], {"key.enableKeyRotation": False})), RULES)
    found, problems = apply(judged, read, "test", TODAY)
    assert found == judged
    assert problems == []


def test_an_advisory_rule_reports_and_lets_pass() -> None:
    section = SECTION | {"policies": {"advisory": ["kms-rotation"]}}
    only = [one for one in BASES["bucket"] if one["$name"] == "key"]
    found = examine("test", graph(broken(only, {"key.enableKeyRotation": False}), section), [])
    assert [(one.rule.id, found.level(one)) for one in found.of(Status.FAIL)] == [("kms-rotation", "advisory")]
    assert not found.failed


def test_an_unknown_advisory_rule_is_named_with_its_file() -> None:
    with pytest.raises(ConfigError, match=r"stacks/Pulumi.test.yaml: policies.advisory has nothing-such"):
        examine("test", graph(BASES["bucket"], SECTION | {"policies": {"advisory": ["nothing-such"]}}), [])


def test_what_is_not_known_never_passes() -> None:
    found = outcome(**{"key.enableKeyRotation": "[unknown]", "key.deletionWindowInDays": "<a:b/c:D::e.days>"})
    unknown = {one.rule.id: one.messages for one in found.of(Status.UNKNOWN)}
    assert unknown["kms-rotation"] == ("enableKeyRotation is known only once it exists",)
    assert "kms-deletion-window" in unknown


def test_what_no_one_tells_of_a_chart_is_not_known() -> None:
    chart = Resource(urn="c", type="kubernetes:helm.sh/v4:Chart", name="velero", inputs=Untold("no one tells"))
    bucket = Resource(urn="b", type="aws:s3/bucket:Bucket", name="raw", inputs={"bucket": "raw"})
    told = Graph([chart, bucket], read_settings(SECTION, "smb"), TODAY)
    about = [one for one in check(told, RULES) if one.resource is chart]
    assert {one.status for one in about} <= {Status.UNKNOWN, Status.PASS}
    exact = next(one for one in about if one.rule.id == "chart-exact")
    assert (exact.status, exact.messages) == (Status.UNKNOWN, ("no one tells",))


def test_what_one_refers_to_is_found_once_it_is_there() -> None:
    vpc = Resource(urn="v", type="aws:ec2/vpc:Vpc", name="vpc", inputs={"cidrBlock": "10.0.0.0/16"})
    log = Resource(
        urn="l",
        type="aws:ec2/flowLog:FlowLog",
        name="vpc",
        inputs={"vpcId": "vpc-0a1b2c"},
        property_dependencies={"vpcId": ("v",)},
    )
    told = Graph([vpc, log], read_settings(SECTION, "smb"), TODAY)
    assert told.targets(log, "vpcId") == [vpc]
    assert told.referring(vpc, "aws:ec2/flowLog:FlowLog", "vpcId") == [log]


def test_a_resource_of_the_wrong_form_fails_and_does_not_stop_the_check() -> None:
    found = outcome(
        **{"life.rules": [{"status": "Enabled", "expiration": {"days": "soon"}, "filter": "x"}], "data.tags": "x"}
    )
    assert {"data-classified", "s3-expiry"} <= {one.rule.id for one in found.of(Status.FAIL)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("manifest.yaml", "apiVersion: v1\nkind: [", ": not YAML: "),
        ("manifest.yaml", "a: 1\n---\nb: 2\n", ":1: this is no Kubernetes object"),
        ("manifest.yaml", "", "is empty: write it again"),
        (
            "pipeline.yaml",
            "pipelineInfo: {name: x}\ndeploymentSpec: {}\n",
            ":1: the pipeline has no root, its end is missing",
        ),
        ("plan.json", '{"stack": "x", ', ":1: not JSON"),
        ("plan.json", '{"stack": "x", "resources": [{"type": "a"}]}', "is not a plan"),
        ("list.yaml", "- 1\n", ":1: there should be a mapping, and not list"),
        ("nothing.yaml", None, "cannot be read"),
    ],
)
def test_bad_input_says_where_and_what(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError) as caught:
        file_graph(file, Settings(), TODAY)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_stack_file_that_cannot_be_is_named() -> None:
    with pytest.raises(ConfigError, match=r"stacks/Pulumi.x.yaml is not valid:\n  policies.profiles.0"):
        read_settings({"policies": {"profiles": ["casino"]}}, "x")


def test_a_manifest_a_pipeline_and_a_contract_are_files_to_check(tmp_path: Path) -> None:
    manifest = tmp_path / "pod.yaml"
    pod = {"containers": [{"name": "c", "image": "x", "securityContext": {"privileged": True}}]}
    documents = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}] * 2
    manifest.write_text(yaml.safe_dump_all(documents))
    found = examine(str(manifest), file_graph(manifest, Settings(), TODAY), [])
    places = {one.resource.place for one in found.of(Status.FAIL) if one.rule.id == "pod-privileged"}
    assert places == {f"{manifest}:1", f"{manifest}:12"}

    result = CliRunner().invoke(app, ["check", str(ROOT / "pipelines" / "training.yaml"), "--format", "json"])
    assert result.exit_code == 0, result.output
    (described,) = json.loads(result.stdout)
    assert described["counts"]["fail"] == 0
    assert described["counts"]["pass"] > 5


def test_the_command_fails_where_a_rule_is_broken(tmp_path: Path) -> None:
    contract = yaml.safe_load((ROOT / "datasets" / "employment" / "contract.yaml").read_text())
    contract["dpia"]["expires"] = date(2020, 1, 1)
    file = tmp_path / "contract.yaml"
    file.write_text(yaml.safe_dump(contract, sort_keys=False))
    result = CliRunner().invoke(app, ["check", str(file)])
    assert result.exit_code == 1
    assert "contract-dpia [high]" in result.stdout
    assert "out of date since 2020-01-01" in result.stdout
    assert f"({file}:1)" in result.stdout


def test_sarif_and_junit_say_the_same() -> None:
    found = outcome(**{"key.enableKeyRotation": False, "key.rotationPeriodInDays": "[unknown]"})
    run = json.loads(sarif([found]))["runs"][0]
    failed = {(one["ruleId"], one["level"]) for one in run["results"] if one["kind"] == "fail"}
    assert ("kms-rotation", "error") in failed
    assert any(one["kind"] == "open" and one["level"] == "none" for one in run["results"])
    assert all(run["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])

    suite = ElementTree.fromstring(junit([found]).split("\n", 1)[1])[0]  # noqa: S314 - our own text
    assert int(suite.get("tests", 0)) == len(found.judgements)
    assert {case.get("classname") for case in suite if case.find("failure") is not None} == {rule for rule, _ in failed}


def test_a_name_that_is_no_stack_is_an_error() -> None:
    result = CliRunner().invoke(app, ["check", "nowhere"])
    assert isinstance(result.exception, ConfigError)
    assert "no stack nowhere" in str(result.exception)


def test_rules_are_pure() -> None:
    clean = graph(BASES["bucket"])
    before = [replace(one) for one in clean.resources]
    assert check(clean, RULES) == check(clean, RULES)
    assert list(clean.resources) == before
