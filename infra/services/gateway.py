"""The gateway: one address in front of all services."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from infra import config
from infra.substrates.base import GatewaySpec, Port, Route, Substrate, Upstream

NAME = "gateway"


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    settings: config.Gateway
    upstreams: Sequence[Upstream]
    routes: Sequence[Route]


class Gateway(pulumi.ComponentResource):
    """The entrance. `url` is what users are told."""

    def __init__(
        self, name: str, substrate: Substrate, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:services:Gateway", name, None, opts)
        spec = GatewaySpec(
            name=NAME,
            port=Port(number=args.settings.port, setting="gateway.port"),
            upstreams=args.upstreams,
            routes=args.routes,
            max_body_bytes=args.settings.max_body_bytes,
            max_connections=args.settings.max_connections,
        )
        self.workload = substrate.gateway(spec, self)
        self.url = substrate.public_url("")
        self.register_outputs({"url": self.url})
