"""The report: complete in both languages, reproducible, signed, and in the forms that tools read."""

import json
import pickle
import re
import subprocess
import uuid
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from typer.testing import CliRunner

from core.errors import ConfigError
from falaj.cli import app
from policies.catalogue import LANGUAGES, controls, evidence, frameworks, selected
from policies.exceptions import read_exceptions
from policies.outcome import Outcome, examine
from policies.report.evidence import NONE, by_framework, digest
from policies.report.junit import junit
from policies.report.oscal import oscal
from policies.report.page import page
from policies.report.sarif import sarif
from policies.report.signing import checksums, signature
from policies.report.wording import WORDS, title
from policies.rules import RULES
from tests.policies.graphs import BASES, SECTION, broken, graph

_ARABIC = re.compile(r"[\u0600-\u06ff]")


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    entry = {
        "rule": "s3-versions",
        "stacks": ["test"],
        "resource": "aws:s3/bucket:Bucket::data",
        "reason": "<b>Copied</b> elsewhere.",
        "approver": "security@example.ae",
        "expires": "2027-01-01",
    }
    (tmp_path / "some.yaml").write_text(yaml.safe_dump([entry]))
    changes = {
        "key.enableKeyRotation": False,
        "versions.versioningConfiguration.status": "Suspended",
        "key.rotationPeriodInDays": "[unknown]",
    }
    return examine("test", graph(broken(BASES["bucket"], changes)), read_exceptions(tmp_path))


class Page(HTMLParser):
    """What a page holds: its texts, the kinds of its elements, and whether each is closed."""

    _VOID = frozenset({"meta", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.kinds: set[str] = set()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.attributes: dict[str, dict[str, str | None]] = {}
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.kinds.add(tag)
        self.attributes.setdefault(tag, found)
        self.links += [value for key, value in attrs if key in ("href", "src") and value]
        self.ids |= {value for key, value in attrs if key == "id" and value}
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_is_whole_and_fetches_nothing(outcome: Outcome, language: str) -> None:
    found = Page(page(outcome, language))  # type: ignore[arg-type]
    assert found.open == []
    assert not found.kinds & {"script", "img", "link", "iframe", "b>"}
    assert all(link.startswith("#") and link[1:] in found.ids for link in found.links)
    assert found.attributes["html"] == {"lang": language, "dir": "rtl" if language == "ar" else "ltr"}
    text = " ".join(found.texts)
    assert "kms-rotation" in text
    assert "<b>Copied</b> elsewhere." in text  # Shown, not obeyed.
    assert WORDS[language]["assumed"] in text  # type: ignore[index]
    for framework in selected(()):
        assert framework.title.of(language) in text  # type: ignore[arg-type]
        for control in framework.controls:
            assert control.person.of(language) in text  # type: ignore[arg-type]


def test_every_rule_and_word_is_in_both_languages() -> None:
    assert WORDS["en"].keys() == WORDS["ar"].keys()
    assert all(_ARABIC.search(text) for text in WORDS["ar"].values())
    for rule in RULES:
        assert _ARABIC.search(title(rule, "ar")), rule.id
        assert title(rule, "en") == rule.title


def test_every_control_of_a_rule_is_in_the_catalogue() -> None:
    named = {control for rule in RULES for control in rule.controls}
    assert named <= set(controls())
    without = [control.id for control in controls().values() if not evidence(control, RULES)]
    assert without == ["difc-reg-10"]
    assert len(controls()) == sum(len(framework.controls) for framework in frameworks())


def test_laws_of_a_profile_hold_where_it_is_named() -> None:
    assert {one.id for one in selected(())} == {"uae-pdpl", "uae-ia", "iso-27001", "gdpr", "cis-eks"}
    assert {one.id for one in selected(("bank",))} - {one.id for one in selected(())} == {"cbuae"}
    section = SECTION | {"policies": {"profiles": ["health"]}}
    health = {"loans.retention.days": 25 * 365}
    assert not examine("t", graph(broken(BASES["contract"], health), section), []).failed
    assert examine("t", graph(BASES["contract"], section), []).failed


def test_a_control_is_as_good_as_its_worst_rule(outcome: Outcome) -> None:
    found = {one.control.id: one.status for framework in by_framework(outcome) for one in framework.controls}
    assert found["ia-t7.4.2"] == "fail"  # The key does not rotate.
    assert found["iso-8.13"] == "excepted"  # The bucket keeps no versions, and may.
    assert found["pdpl-22"] == "pass"
    assert found["pdpl-6"] == NONE  # There is no contract.


def test_the_same_graph_gives_the_same_bytes(outcome: Outcome) -> None:
    again = examine("test", outcome.graph, outcome.exceptions)
    for form in (oscal, lambda one: page(one, "en"), lambda one: page(one, "ar")):
        assert form(outcome) == form(again)
    assert sarif([outcome]) == sarif([again])
    assert junit([outcome]) == junit([again])
    assert digest(outcome) != digest(examine("test", graph(BASES["bucket"]), []))


def test_oscal_findings_point_to_observations_and_those_to_items(outcome: Outcome) -> None:
    document = json.loads(oscal(outcome))["assessment-results"]
    (result,) = document["results"]
    observations = {one["uuid"]: one for one in result["observations"]}
    items = {one["uuid"] for one in result["local-definitions"]["inventory-items"]}
    assert all(uuid.UUID(one).version == 5 for one in (document["uuid"], *observations, *items))
    for finding in result["findings"]:
        assert all(one["observation-uuid"] in observations for one in finding["related-observations"])
    for observation in observations.values():
        assert {one["subject-uuid"] for one in observation["subjects"]} <= items
    states = {one["target"]["target-id"]: one["target"]["status"]["state"] for one in result["findings"]}
    assert states["ia-t7.4.2"] == "not-satisfied"
    assert states["pdpl-22"] == "satisfied"
    assert "pdpl-6" not in states


def test_the_signature_is_what_openssl_verifies(tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "a").write_text("a\n")
    sums = checksums({"a": b"a\n"})
    (tmp_path / "SHA256SUMS").write_bytes(sums)
    (tmp_path / "SHA256SUMS.sig").write_bytes(signature(sums, key))
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", "SHA256SUMS"]
    verify += ["-sigfile", "SHA256SUMS.sig"]
    for command in (["sha256sum", "--check", "SHA256SUMS"], verify):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "SHA256SUMS").write_bytes(sums.replace(b"a\n", b"b\n"))
    assert subprocess.run(verify, cwd=tmp_path, check=False, capture_output=True).returncode != 0


def test_the_command_checks_and_writes_all_of_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["compliance", "local", "--output", str(tmp_path), "--date", "2026-11-21"])
    assert result.exit_code == 0, result.output
    assert "local: passed: " in result.stdout
    assert {file.name for file in tmp_path.iterdir()} == {
        "SHA256SUMS",
        "assessment-results.oscal.json",
        "findings.junit.xml",
        "findings.sarif",
        "report.ar.html",
        "report.en.html",
    }
    subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)


def test_one_stack_is_named_or_all(tmp_path: Path) -> None:
    for arguments in ([], ["local", "--all"]):
        result = CliRunner().invoke(app, ["compliance", *arguments, "--output", str(tmp_path)])
        assert isinstance(result.exception, ConfigError)
    assert not list(tmp_path.iterdir())


def test_another_process_finds_the_same_in_it(outcome: Outcome) -> None:
    moved = pickle.loads(pickle.dumps(outcome))  # noqa: S301 - our own
    assert moved.judgements == outcome.judgements
    assert all(ours.rule is theirs.rule for ours, theirs in zip(outcome.judgements, moved.judgements, strict=True))
    assert page(moved, "en") == page(outcome, "en")


def test_a_key_that_cannot_sign_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    with pytest.raises(ConfigError, match="openssl genpkey -algorithm ed25519"):
        signature(b"", key)
    other = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match=r"is not of Ed25519"):
        signature(b"", key)
