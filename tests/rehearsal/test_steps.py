"""What a step must do, and what is said where it does otherwise."""

from pathlib import Path

import pytest

from rehearsal.engine import Finding, Outcome
from rehearsal.policies import Policies
from rehearsal.sequence import CHANGES, _is_owned, _section
from rehearsal.steps import RehearsalError, Steps, unrepaired

_BUDGET = "urn:pulumi:smb::falaj::falaj:Substrate$aws:budgets/budget:Budget::monthly"
_BUCKET = "urn:pulumi:smb::falaj::aws:s3/bucket:Bucket::raw"


def _outcome(done: dict[str, str], *, errors: list[str] | None = None, findings: set[Finding] | None = None) -> Outcome:
    return Outcome(
        succeeded=not errors, seconds=2.0, done=done, same=3, errors=errors or [], findings=findings or set()
    )


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps("smb", tmp_path, lambda _: None)


def test_a_step_that_fails_says_which_and_why(steps: Steps, tmp_path: Path) -> None:
    with pytest.raises(RehearsalError, match=rf"smb failed at `up` \(logs: {tmp_path}\):\n  the bucket is taken"):
        steps.through("up", _outcome({}, errors=["the bucket is taken"]))
    assert [stage.name for stage in steps.done] == ["up"]


def test_just_what_depends_on_a_setting_may_change(steps: Steps) -> None:
    outcome = steps.through("change", _outcome({_BUDGET: "update"}))
    steps.expect(outcome, {"aws:budgets/budget:Budget": 1})
    with pytest.raises(RehearsalError, match=r"to be updated was\n    nothing\n  and was\n    aws:budgets"):
        steps.expect(outcome, {})
    with pytest.raises(RehearsalError, match=f"replace of {_BUDGET.replace('$', '.')}: 1"):
        steps.expect(_outcome({_BUDGET: "replace"}), {"aws:budgets/budget:Budget": 1})


def test_repaired_is_what_was_altered_and_nothing_else() -> None:
    assert unrepaired([_BUCKET], _outcome({_BUCKET: "update"})) == []
    assert unrepaired([_BUCKET], _outcome({_BUDGET: "create"})) == [
        f"{_BUCKET} was altered by hand and not repaired",
        f"{_BUDGET}: create, and no one had altered it",
    ]


def test_the_pack_and_the_check_find_the_same() -> None:
    both, pack, check = Finding("s3-versions", "a: b"), Finding("rds-private", "c: d"), Finding("kms-rotation", "e: f")
    outcome = _outcome({}, findings={both, pack, Finding("not-known", "g: h: i")})
    assert Policies(pack=Path(), expected={both, pack}).differences(outcome) == []
    assert Policies(pack=Path(), expected={both, check}).differences(outcome) == [
        "the pack alone: rds-private: c: d",
        "`falaj check` alone: kms-rotation: e: f",
    ]


def test_what_the_pack_cannot_know_the_check_alone_may_find() -> None:
    outcome = _outcome({}, findings={Finding("not-known", "chart-exact, chart-images: a::b: no one is told: ask")})
    unseen, other = (
        Finding("chart-exact", "a::b: it is not. Pin it."),
        Finding("chart-exact", "a::c: it is not. Pin it."),
    )
    assert Policies(pack=Path(), expected={unseen}).differences(outcome) == []
    assert Policies(pack=Path(), expected={unseen, other}).differences(outcome) == [
        "`falaj check` alone: chart-exact: a::c: it is not. Pin it."
    ]


def test_a_setting_is_found_where_a_stack_has_it() -> None:
    limits = {"cpu": 8}
    settings = {"substrate": {"nodes": {"services": {"limits": limits}, "gpu": {"limits": {"cpu": 4}}}}}
    path = next(change.path for change in CHANGES if "*" in change.path)
    assert _section(settings, path) is limits
    assert _section({"substrate": {"nodes": {"general": {"count": 6}}}}, path) is None
    assert _section({}, ("governance", "budget", "monthly_usd")) is None


@pytest.mark.parametrize(
    "outputs",
    [
        {"tagsAll": {"owner": "data-team"}},
        {"rehearsalSeen": '[{"Key": "owner", "Value": "data-team"}]'},
        {"metadata": {"name": "monitoring", "labels": {"falaj.ae/owner": "data-team"}}},
        {"rehearsalSeen": '{"tags": {"owner": "data-team"}}'},
    ],
)
def test_whose_tag_a_resource_has(outputs: dict[str, object]) -> None:
    resource = {"type": "aws:s3/bucket:Bucket", "outputs": outputs}
    assert _is_owned(resource, "data-team")
    assert not _is_owned(resource, "another-team")
