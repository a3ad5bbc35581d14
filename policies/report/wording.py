"""The report's own words, in both languages."""

import functools
from collections.abc import Mapping
from pathlib import Path

import yaml

from policies.catalogue import Language
from policies.model import Rule

WORDS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "title": "Compliance of the stack",
        "of": "as of",
        "graph": "Digest of the graph",
        "environment": "Environment",
        "resources": "Resources",
        "rules": "Rules judged",
        "pass": "met",
        "fail": "not met",
        "excepted": "excepted",
        "unknown": "not known here",
        "person": "for a person",
        "none": "nothing to judge",
        "by_framework": "By framework",
        "by_resource": "By resource",
        "faults": "What is not met",
        "exceptions": "Exceptions",
        "people": "What only a person can answer",
        "uncertain": "What is uncertain in law",
        "control": "Control",
        "status": "Status",
        "evidence": "Evidence",
        "machine": "A machine checks",
        "rest": "A person answers",
        "rule": "Rule",
        "resource": "Resource",
        "severity": "Severity",
        "message": "What is wrong",
        "remedy": "Remedy",
        "reason": "Reason",
        "basis": "Legal basis",
        "approver": "Approved by",
        "expires": "Until",
        "setting": "Setting",
        "cost": "Cost",
        "monthly": "Estimated for a month",
        "budget": "Budget",
        "assumed": "What is assumed",
        "value": "Value",
        "unpriced": "Without a price",
        "by_use": "Billed by use, and not in the sum",
        "judged": "judged",
        "of_rules": "Rules",
        "problems": "What is wrong with exceptions",
        "nothing": "Nothing.",
        "all_met": "All that was judged is met.",
        "low": "low",
        "medium": "medium",
        "high": "high",
        "critical": "critical",
        "note": "What this page shows is what the stack's program declares. It does not show what was changed by hand, "
        "and it is no legal advice.",
    },
    "ar": {
        "title": "امتثال الحزمة",
        "of": "بتاريخ",
        "graph": "بصمة المخطط",
        "environment": "البيئة",
        "resources": "الموارد",
        "rules": "القواعد المطبقة",
        "pass": "مستوفى",
        "fail": "غير مستوفى",
        "excepted": "مستثنى",
        "unknown": "غير معروف هنا",
        "person": "لشخص",
        "none": "لا شيء للحكم عليه",
        "by_framework": "بحسب الإطار",
        "by_resource": "بحسب المورد",
        "faults": "ما لم يُستوفَ",
        "exceptions": "الاستثناءات",
        "people": "ما لا يجيب عنه إلا شخص",
        "uncertain": "ما هو غير محسوم في القانون",
        "control": "الضابط",
        "status": "الحالة",
        "evidence": "الدليل",
        "machine": "تفحص الآلة",
        "rest": "يجيب الشخص",
        "rule": "القاعدة",
        "resource": "المورد",
        "severity": "الخطورة",
        "message": "الخلل",
        "remedy": "العلاج",
        "reason": "السبب",
        "basis": "السند القانوني",
        "approver": "اعتمده",
        "expires": "حتى",
        "setting": "الإعداد",
        "cost": "الكلفة",
        "monthly": "التقدير لشهر",
        "budget": "الميزانية",
        "assumed": "ما هو مفترض",
        "value": "القيمة",
        "unpriced": "بلا سعر",
        "by_use": "يُحاسب بحسب الاستعمال وليس ضمن المجموع",
        "judged": "حُكم عليها",
        "of_rules": "القواعد",
        "problems": "الخلل في الاستثناءات",
        "nothing": "لا شيء.",
        "all_met": "كل ما حُكم عليه مستوفى.",
        "low": "منخفضة",
        "medium": "متوسطة",
        "high": "عالية",
        "critical": "حرجة",
        "note": "تعرض هذه الصفحة ما يعلنه برنامج الحزمة، ولا تعرض ما غُيّر يدوياً، وليست مشورة قانونية.",
    },
}


@functools.cache
def _arabic() -> Mapping[str, str]:
    found: dict[str, str] = yaml.load((Path(__file__).parent / "ar.yaml").read_bytes(), Loader=yaml.CSafeLoader)
    return found


def title(rule: Rule, language: Language) -> str:
    """A rule's title."""
    return _arabic()[rule.id] if language == "ar" else rule.title


_REFERENCES = (
    ("Articles ", "المواد "),
    ("Article ", "المادة "),
    ("Sections ", "الأقسام "),
    (" and ", " و"),
    (" to ", " إلى "),
)


def reference(text: str, language: Language) -> str:
    """The number of a control as the language writes it."""
    if language == "ar":
        for english, arabic in _REFERENCES:
            text = text.replace(english, arabic)
    return text
