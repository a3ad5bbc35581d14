"""What is wrong in the program itself: what it registers, beside a whole stack."""

import secrets
from collections.abc import Callable
from typing import Any

import pulumi
from pulumi.resource import DependencyResource
from pulumi_aws import get_caller_identity, s3
from pulumi_kubernetes import Provider
from pulumi_kubernetes.core.v1 import ConfigMap

from tests.defects.model import SITE, Defect


class Part(pulumi.ComponentResource):
    """What a defect's resources belong to, on the cluster."""

    def __init__(self, make: Callable[["Part"], Any]) -> None:
        provider = Provider("part", kubeconfig="{}", enable_server_side_apply=True)
        super().__init__("falaj:test:Part", "part", None, pulumi.ResourceOptions(providers={"kubernetes": provider}))
        make(self)
        self.register_outputs({})


def _part(make: Callable[[Part], Any]) -> Callable[[], Any]:
    return lambda: Part(make)


def _config(part: Part, name: str, data: Any, wait: pulumi.Resource | None = None) -> ConfigMap:
    opts = pulumi.ResourceOptions(parent=part, depends_on=[wait] if wait else [])
    return ConfigMap(name, metadata={"name": name, "namespace": "falaj"}, data=data, opts=opts)


def _twice(part: Part) -> None:
    _config(part, "one", {"a": "b"})
    _config(part, "one", {"a": "c"})


def _elsewhere(part: Part) -> None:
    gone = DependencyResource("urn:pulumi:onprem::falaj::kubernetes:core/v1:Namespace::gone")
    _config(part, "one", {"a": "b"}, gone)


def _text(part: Part) -> None:
    first = _config(part, "one", {"a": "b"})
    _config(part, "other", {"after": f"{first.id}"})


def _in_clear(part: Part) -> None:
    password = pulumi.Output.secret("a-password-of-the-test")
    shown = pulumi.Output.unsecret(password)
    _config(part, "one", {"password": shown})
    _config(part, "other", {"password": password})


def _by_chance(part: Part) -> None:
    _config(part, f"one-{secrets.token_hex(4)}", {"a": "b"})


def _of_itself(part: Part) -> None:
    _config(part, "one", {"a": "b"}, part)


def _misspelt(part: Part) -> None:
    settings: dict[str, Any] = {"metadata": {"name": "one"}, "dat": {"a": "b"}}
    ConfigMap("one", opts=pulumi.ResourceOptions(parent=part), **settings)


def _unsaid() -> None:
    settings: dict[str, Any] = {"bucket": "falaj-raw"}
    s3.BucketVersioning("raw", **settings)


DEFECTS = [
    Defect("name-twice", "Two resources of one type and name", SITE, program=_part(_twice)),
    Defect(
        "of-no-component",
        "A resource that belongs to nothing",
        SITE,
        program=lambda: ConfigMap("one", metadata={"name": "one"}),
    ),
    Defect(
        "default-provider",
        "A resource that would be made wherever the machine's settings point",
        SITE,
        program=_part(lambda part: s3.Bucket("raw", bucket="falaj-raw", opts=pulumi.ResourceOptions(parent=part))),
    ),
    Defect("asks-the-account", "A plan that needs an account", SITE, program=get_caller_identity),
    Defect("waits-for-nothing", "A resource waits for one that is not in the stack", SITE, program=_part(_elsewhere)),
    Defect("output-as-text", "A value that is not known yet, put into text", SITE, program=_part(_text)),
    Defect("secret-in-clear", "A secret in a ConfigMap", SITE, program=_part(_in_clear)),
    Defect("name-by-chance", "A name that differs each time: everything is made anew", SITE, program=_part(_by_chance)),
    Defect("waits-for-itself", "A part that waits for what it is a part of", SITE, program=_part(_of_itself)),
    Defect("argument-misspelt", "An argument that the resource does not take", SITE, program=_part(_misspelt)),
    Defect("argument-missing", "A resource without an argument that it needs", SITE, program=_unsaid),
    Defect(
        "secret-setting-missing",
        "A secret that the stack's file does not hold",
        SITE,
        program=lambda: pulumi.Config().require_secret("token"),
    ),
]
