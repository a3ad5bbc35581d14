"""JUnit's XML, which CI servers show as tests: one test a rule and resource."""

from collections.abc import Sequence
from xml.etree import ElementTree

from policies.engine import Status
from policies.outcome import MANDATORY, Outcome, remedy


def junit(outcomes: Sequence[Outcome]) -> str:
    """A suite a stack or file. What is excepted or not known is skipped, with the reason."""
    root = ElementTree.Element("testsuites", name="falaj check")
    for outcome in outcomes:
        suite = ElementTree.SubElement(root, "testsuite", name=outcome.subject)
        counts = {"tests": 0, "failures": 0, "skipped": 0, "errors": len(outcome.problems)}
        for one in outcome.judgements:
            counts["tests"] += 1
            name = f"{one.resource.type}::{one.resource.name}"
            case = ElementTree.SubElement(suite, "testcase", classname=one.rule.id, name=name)
            text = "; ".join(one.messages)
            if one.status is Status.FAIL and outcome.level(one) == MANDATORY:
                counts["failures"] += 1
                failure = ElementTree.SubElement(case, "failure", message=text, type=one.rule.severity.value)
                failure.text = remedy(outcome, one)
            elif one.status is not Status.PASS:
                counts["skipped"] += 1
                why = f"excepted by {one.exception}" if one.exception else f"{one.status.value}: {text}"
                ElementTree.SubElement(case, "skipped", message=why)
        for problem in outcome.problems:
            counts["tests"] += 1
            case = ElementTree.SubElement(suite, "testcase", classname="exceptions", name=problem.partition(": ")[0])
            ElementTree.SubElement(case, "error", message=problem, type="exception")
        for key, value in counts.items():
            suite.set(key, str(value))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
