"""How the gateway's Service asks the load balancer controller for its network load balancer."""

from collections.abc import Mapping

_PREFIX = "service.beta.kubernetes.io/aws-load-balancer"


def annotations(*, internal: bool) -> Mapping[str, str]:
    """Annotations of the Service.

    Clients keep their addresses, by which the network policy and the limits tell them apart; the health checks come
    from the load balancer's own, in its subnets. Pods are reached directly, without a detour over other nodes.

    Args:
        internal: Whether it stands in the private subnets, or in the public ones.
    """
    return {
        f"{_PREFIX}-type": "external",
        f"{_PREFIX}-nlb-target-type": "ip",
        f"{_PREFIX}-scheme": "internal" if internal else "internet-facing",
        f"{_PREFIX}-attributes": "load_balancing.cross_zone.enabled=true",
        f"{_PREFIX}-target-group-attributes": "preserve_client_ip.enabled=true,deregistration_delay.timeout_seconds=60",
    }
