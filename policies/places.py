"""Where an address is: regions of the clouds that are in the country, and hosts that name a region."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from policies.model import SYMBOL
from policies.settings import Settings

AWS = frozenset({"me-central-1"})
"""AWS's region in the country. me-south-1 is Bahrain."""
OTHERS = frozenset({"uaenorth", "uaecentral", "me-abudhabi-1", "me-dubai-1"})
"""Regions of Azure and Oracle in the country."""
ABROAD = re.compile(r"\b(?:af|ap|ca|cn|eu|il|me|mx|sa|us|us-gov)-[a-z]+-[1-9]\b")
"""A region of AWS or Oracle, wherever it is."""
_AWS_HOST = re.compile(r"(?:[a-z0-9-]+\.)*amazonaws\.com(?:\.cn)?$")
_FOREIGN_HOSTS = re.compile(
    r"(?:^|\.)(?:"
    r"huggingface\.co|hf\.co|githubusercontent\.com|kaggle\.com|wandb\.ai|neptune\.ai|comet\.com|clear\.ml|"
    r"datadoghq\.(?:com|eu)|newrelic\.com|nr-data\.net|sentry\.io|honeycomb\.io|grafana\.net|logz\.io|loggly\.com|"
    r"splunkcloud\.com|sumologic\.com|elastic-cloud\.com|segment\.(?:io|com)|posthog\.com|amplitude\.com|mixpanel\.com|"
    r"google-analytics\.com|googleapis\.com|storage\.cloud\.google\.com|r2\.cloudflarestorage\.com|"
    r"digitaloceanspaces\.com|backblazeb2\.com|wasabisys\.com|snowflakecomputing\.com|mongodb\.net|"
    r"openai\.com|anthropic\.com|cohere\.(?:ai|com)|pagerduty\.com|opsgenie\.com|slack\.com|discord\.com"
    r")$"
)
_SCHEMES = {"gs": "Google Cloud Storage", "hf": "the Hugging Face hub", "wasbs": "Azure Blob", "abfss": "Azure Blob"}
_URL = re.compile(r"\b([a-z][a-z0-9+]{1,11})://([^\s\"'<>,;)\]}]+)")
_LOCAL = re.compile(
    r"^(?:localhost|127(?:\.\d+){3}|0\.0\.0\.0|\[?::1?\]?|169\.254\.\d+\.\d+|10(?:\.\d+){3}|192\.168(?:\.\d+){2}|"
    r"172\.(?:1[6-9]|2\d|3[01])(?:\.\d+){2}|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])(?:\.\d+){2})$"
)
STORAGE = ("s3", "s3a", "gs", "hf", "wasbs", "abfss", "http", "https", "minio")


def urls(text: str) -> list[tuple[str, str]]:
    """The addresses in a text, as scheme and what follows `://`."""
    return [(scheme, rest) for scheme, rest in _URL.findall(SYMBOL.sub("symbol", text))]


def host(rest: str) -> str:
    """The host of an address without its scheme: no user, no port, lower case."""
    try:
        return (urlsplit(f"//{rest}").hostname or "").lower()
    except ValueError:
        return ""


def region_abroad(text: str, allowed: Iterable[str] = AWS | OTHERS) -> str | None:
    """The first region in `text` that is not in the country."""
    inside = frozenset(allowed)
    return next((found for found in ABROAD.findall(text) if found not in inside), None)


def foreign_host(name: str) -> str | None:
    """Why a host is known to be abroad; None where that is not known."""
    if _AWS_HOST.search(name):
        region = region_abroad(name)
        if region is not None:
            return f"it is in {region}"
        if re.fullmatch(r"(?:[a-z0-9.-]+\.)?s3\.amazonaws\.com", name):
            return "S3's global endpoint is in us-east-1"
    if name.endswith((".blob.core.windows.net", ".dfs.core.windows.net")):
        return None  # Azure's accounts do not name their region.
    found = _FOREIGN_HOSTS.search(name)
    return "it is a service outside the country" if found else None


def inside(name: str, settings: Settings) -> bool:
    """Whether a host is this machine, of the cluster, of AWS's region here, or of a "
    "domain that the site vouches for."""
    if not name or "." not in name or _LOCAL.match(name):
        return True
    if name.endswith((".svc", ".svc.cluster.local", ".cluster.local", ".internal", ".local", ".localhost")):
        return True
    if _AWS_HOST.search(name):
        return foreign_host(name) is None
    return any(name == domain or name.endswith(f".{domain}") for domain in settings.policies.domains)


def storage_abroad(address: str, settings: Settings) -> str | None:
    """Why data at an address would not be in the country; None where they would be.

    A bucket's name tells no region: `s3://` is the stack's own object store.
    """
    found = urls(address)
    if not found:
        return None
    scheme, rest = found[0]
    if scheme in _SCHEMES:
        return f"it is {_SCHEMES[scheme]}"
    if scheme in ("http", "https") and not inside(host(rest), settings):
        return foreign_host(host(rest)) or "its host is not of a domain that policies.domains names"
    return foreign_host(host(rest))
