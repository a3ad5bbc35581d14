"""How one type of resource is made, looked at, changed and deleted through AWS's own operations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Template = Mapping[str, Any]
"""Parameters of an operation. `{name}` alone stands for a property as it is, in longer text for its text; a text
that begins with `=` is a JMESPath of all there is: the properties, `id`, `account`, `region`, `autoname` (the
resource's name made unique) and `answer`, what the operation that made it answered."""
AFTER = "after"
"""Of `Kind.tags`: a call of its own gives them."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call.

    Attributes:
        operation: In CamelCase, as AWS writes it.
        takes: Properties that become parameters by their spelling. None are all that no other step takes.
        template: Further parameters.
        nested: Parameter that the converted properties go into, where that is not the request itself.
        when: JMESPath of something without which the call is left out.
        service: Where it is not that of the kind.
    """

    operation: str
    takes: Sequence[str] | None = ()
    template: Template = field(default_factory=dict)
    nested: str | None = None
    when: str | None = None
    service: str | None = None


@dataclass(frozen=True, kw_only=True)
class Read:
    """How the service is asked for a resource.

    Attributes:
        path: JMESPath of the resource in the answer; with nothing there it is gone.
        without: Keys, at any depth, that change by themselves or belong to other resources.
    """

    operation: str
    template: Template
    path: str
    without: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A type of resource.

    Attributes:
        service: As botocore names it.
        create: The call that makes it.
        identifier: Template of the ID.
        renames: Property → parameter, at any depth, where the spelling does not tell.
        ignored: Properties that steer the provider and go to no service.
        tags: Parameter for tags of what makes it; `specification:TYPE` in EC2; AFTER where that takes none; None
            where there are none at all. Later they are changed by `tagging`.
        prepare: Rewrites the properties where spelling cannot.
        after: Further calls that complete it; each is made again where something that it takes changes.
        update: Calls for what `create` took and another operation changes.
        replaced: Properties whose change makes a new resource.
        outputs: Property → template.
        delete: Calls that delete it.
    """

    service: str
    create: Step
    identifier: str
    renames: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()
    tags: str | None = None
    prepare: Callable[[dict[str, Any]], None] | None = None
    after: Sequence[Step] = ()
    update: Sequence[Step] = ()
    replaced: Sequence[str] = ()
    outputs: Template = field(default_factory=dict)
    read: Read | None = None
    delete: Sequence[Step] = ()
