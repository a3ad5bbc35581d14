"""The provider `aws`, in front of moto. `python -m rehearsal.aws.provider` serves it to the engine."""

import copy
import json
import re
import secrets
import threading
from collections.abc import Collection, Mapping
from typing import Any

import boto3
import jmespath
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.model import MapShape, StructureShape

from rehearsal.aws import KINDS
from rehearsal.aws.convert import parameters, violations
from rehearsal.aws.kind import AFTER, Kind, Step
from rehearsal.aws.tagging import NOT_RETAGGED, tagging
from rehearsal.notes import note
from rehearsal.protocol import Difference, Found, Made, NotFoundError, Provider, ProviderError, Values, changed, serve

NOT_EMULATED = "checked against AWS's own model alone, since the emulation lacks them"
UNSEEN = "taken as declared by a refresh, since the emulation does not tell"
_MADE, SEEN = "rehearsalMade", "rehearsalSeen"
"""Outputs of ours: what the service said of a resource when it was last changed, and when it was last looked at."""
_NOT_EMULATED = re.compile("NotImplemented|not been implemented|Not yet implemented|<title>404 Not Found")
# Its stubs take no name that is only known while it runs.
_CLIENT: Any = boto3.client
_TOLD = {"account", "region", "declared", "tagsAll", "tagList"}
_GONE = re.compile(r"NotFound|NoSuch|NotExist|DoesNotExist|NonExistent|404|InvalidAllocationID|ResourceNotFound")
_NOT_THERE = re.compile("is not owned by the current account|is not subscribed to")
"""How GuardDuty says that there is no such detector, and Security Hub that it is off."""


class NotEmulatedError(ProviderError):
    """The emulation has no such operation."""


class AwsProvider(Provider):
    """Each type by the table of its service."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._region = self._account = ""
        self._tags: dict[str, str] = {}

    def configure(self, settings: Mapping[str, str]) -> None:
        self._region = settings["region"]
        self._tags = json.loads(settings.get("defaultTags", "{}")).get("tags", {})
        self._account = self._client("sts").get_caller_identity()["Account"]
        allowed = json.loads(settings.get("allowedAccountIds", "[]"))
        if allowed and self._account not in allowed:
            raise ProviderError(
                f"the credentials are of account {self._account}, and the stack's is {', '.join(allowed)}"
            )

    def check(self, kind: str, inputs: Values) -> list[str]:
        if kind not in KINDS:
            return [f"the rehearsal does not know {kind}: add it to the tables in rehearsal/aws"]
        return [
            f"{key} is no JSON: {error}"
            for key, value in inputs.items()
            if key.lower().endswith(("policy", "policydocument")) and isinstance(value, str)
            for error in _json_faults(value)
        ]

    def difference(self, kind: str, before: Values, outputs: Values, inputs: Values) -> Difference:
        table = KINDS[kind]
        found = changed(before, inputs)
        if table.tags and outputs.get("tagsAll") != self._all_tags(inputs):
            found.add("tagsAll")
        if outputs.get(_MADE) != outputs.get(SEEN):
            changeable = table.tags or table.update or any(step.takes for step in table.after)
            return Difference(changed={*found, SEEN}, replaced=() if changeable else [SEEN], delete_first=True)
        return Difference(changed=found, replaced=found & set(table.replaced), delete_first=True)

    def create(self, kind: str, name: str, inputs: Values) -> Made:
        table = KINDS[kind]
        unique = f"{re.sub('[^A-Za-z0-9-]', '-', name)}-{secrets.token_hex(4)[:7]}"
        known = self._known(table, inputs) | {"autoname": unique}
        known["answer"] = known["last"] = self._step(table, table.create, known, tags=True)
        identifier = _evaluate(table.identifier, known)
        known["id"] = identifier or self._invented(table, unique)
        if table.tags == AFTER:
            self._step(table, tagging(kind, table.service), known)
        for step in table.after:
            if _applies(step, known):
                known["last"] = self._step(table, step, known)
        outputs = inputs | {
            key: value for key, template in table.outputs.items() if (value := _evaluate(template, known)) is not None
        }
        if "arn" in table.outputs:
            outputs.setdefault("arn", f"arn:aws:{table.service}:{self._region}:{self._account}:{known['id']}")
        if table.tags:
            outputs["tagsAll"] = known["tagsAll"]
        outputs = _plain(outputs)
        return Made(id=known["id"], outputs=self._observed(kind, known["id"], inputs, outputs))

    def read(self, kind: str, identifier: str, inputs: Values, outputs: Values) -> Found:
        seen = self.looked(kind, identifier, inputs, outputs)
        return Found(inputs=inputs, outputs=outputs if seen is None else outputs | {SEEN: seen})

    def update(self, kind: str, identifier: str, before: Values, outputs: Values, inputs: Values) -> Values:
        table = KINDS[kind]
        known = outputs | self._known(table, inputs) | {"id": identifier, "outputs": outputs}
        drifted = outputs.get(_MADE) != outputs.get(SEEN)
        touched = set(known) if drifted else changed(self._known(table, before), self._known(table, inputs))
        done = set(table.ignored)
        if table.tags and (drifted or outputs.get("tagsAll") != known["tagsAll"]):
            self._retag(kind, outputs, known)
        for step in [*table.after, *table.update]:
            takes = self._takes(table, step, known)
            if set(takes) & touched and _applies(step, known):
                self._step(table, step, known)
                done |= set(takes)
        left = touched - done - _TOLD
        if left and not drifted:
            raise ProviderError(
                f"the rehearsal knows no call that changes {', '.join(sorted(left))} of {kind}: see rehearsal/aws"
            )
        more = {"tagsAll": known["tagsAll"]} if table.tags else {}
        # What the service put into a property beside what was declared stays there.
        more |= {key: _merged(outputs[key], inputs[key]) for key in table.outputs if isinstance(inputs.get(key), dict)}
        return self._observed(kind, identifier, inputs, outputs | inputs | more)

    def _retag(self, kind: str, outputs: Values, known: Values) -> None:
        gone = sorted(outputs.get("tagsAll", {}).keys() - known["tagsAll"].keys())
        if gone:
            raise ProviderError(f"the rehearsal takes no tag away, and {kind} has {', '.join(gone)} no more")
        step = tagging(kind, KINDS[kind].service)
        try:
            self._step(KINDS[kind], step, known)
        except NotFoundError:
            # What could not be made there cannot be found there either.
            if SEEN in outputs and kind not in NOT_RETAGGED:
                raise
            note(NOT_EMULATED, f"{KINDS[kind].service}:{step.operation} of {kind}")

    def delete(self, kind: str, identifier: str, inputs: Values, outputs: Values) -> None:
        table = KINDS[kind]
        known = outputs | self._known(table, inputs) | {"id": identifier, "outputs": outputs}
        for step in table.delete:
            try:
                self._step(table, step, known)
            except NotFoundError:
                continue

    def identifier(self, kind: str, inputs: Values) -> str:
        """The ID, where the inputs alone tell it; empty where the service or chance does."""
        template = KINDS[kind].identifier
        return "" if "autoname" in template else str(_evaluate(template, self._known(KINDS[kind], inputs)) or "")

    def _invented(self, table: Kind, unique: str) -> str:
        """An ID like those that the service gives, where the emulation gave none."""
        is_arn = table.identifier.lower().endswith("arn")
        return f"arn:aws:{table.service}:{self._region}:{self._account}:rehearsed/{unique}" if is_arn else unique

    def _observed(self, kind: str, identifier: str, inputs: Values, outputs: Values) -> Values:
        try:
            seen = self.looked(kind, identifier, inputs, outputs)
        except NotFoundError:
            raise ProviderError(f"{kind} {identifier} was made, and the service does not know it") from None
        return outputs if seen is None else outputs | {_MADE: seen, SEEN: seen}

    def looked(self, kind: str, identifier: str, inputs: Values, outputs: Values) -> str | None:
        """What the service says of a resource, as JSON; None where it cannot be asked."""
        table = KINDS[kind]
        if table.read is None:
            note(UNSEEN, kind)
            return None
        known = outputs | self._known(table, inputs) | {"id": identifier}
        try:
            answer = self._call(table.service, table.read.operation, _evaluate(table.read.template, known))
        except NotEmulatedError:
            note(UNSEEN, kind)
            return None
        found = jmespath.search(_filled(table.read.path, known), _plain(answer))
        if found is None:
            raise NotFoundError(f"{identifier} is gone")
        return json.dumps(_without(found, table.read.without), sort_keys=True)

    def _known(self, table: Kind, inputs: Values) -> Values:
        """The properties as the steps take them, and what templates may name beside them."""
        prepared = copy.deepcopy(inputs)
        tags = self._all_tags(prepared)
        prepared.pop("tags", None)
        if table.prepare is not None:
            table.prepare(prepared)
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        told = {"account": self._account, "region": self._region, "tagsAll": tags, "tagList": listed}
        return prepared | told | {"declared": sorted(prepared)}

    def _all_tags(self, inputs: Values) -> dict[str, str]:
        return self._tags | (inputs.get("tags") or {})

    def _takes(self, table: Kind, step: Step, known: Values) -> Collection[str]:
        if step.takes is not None:
            return step.takes
        later = {key for after in table.after for key in after.takes or ()}
        return [key for key in known["declared"] if key not in later and key not in table.ignored]

    def _step(self, table: Kind, step: Step, known: Values, *, tags: bool = False) -> Any:
        service = step.service or table.service
        operation = _filled(step.operation, known)
        shape = self._client(service).meta.service_model.operation_model(operation).input_shape
        given = {key: known[key] for key in self._takes(table, step, known) if known.get(key) is not None}
        target: Any = shape.members[step.nested] if step.nested else shape
        converted = parameters(target, given, table.renames) if given else {}
        request = {step.nested: converted} if step.nested else converted
        request = _merged(request, _evaluate(step.template, known))
        if tags and table.tags not in (None, AFTER) and known["tagsAll"]:
            request |= _tags(table.tags, shape, known["tagsAll"])
        try:
            return _plain(self._call(service, operation, request))
        except NotEmulatedError:
            note(NOT_EMULATED, f"{service}:{operation}")
            return {}

    def _client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                # How often a call is tried again is up to the environment, as for the real provider.
                config = Config(max_pool_connections=20)
                self._clients[service] = _CLIENT(service, region_name=self._region, config=config)
            return self._clients[service]

    def _call(self, service: str, operation: str, request: Values) -> Any:
        """Make a call, refusing first what AWS's model of it says that the service would.

        Raises:
            NotFoundError: What it is about is not there.
            NotEmulatedError: The emulation does not know the operation.
            ProviderError: The service refuses.
        """
        client = self._client(service)
        model = client.meta.service_model.operation_model(operation)
        if model.input_shape is not None:
            wrong = list(violations(model.input_shape, request))
            if wrong:
                raise ProviderError(f"{service}:{operation} would be refused: {'; '.join(wrong)}")
        method = next(name for name, known in client.meta.method_to_api_mapping.items() if known == operation)
        try:
            return getattr(client, method)(**request)
        except ClientError as error:
            code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 501 or _NOT_EMULATED.search(f"{code} {message}"):
                raise NotEmulatedError(f"{service}:{operation} is not emulated") from error
            if _GONE.search(code) or _NOT_THERE.search(message):
                raise NotFoundError(f"{service}:{operation}: {code}: {message}") from error
            raise ProviderError(f"{service}:{operation}: {code}: {message}") from error
        except BotoCoreError as error:
            raise ProviderError(f"{service}:{operation}: {error}") from error


def _json_faults(text: str) -> list[str]:
    try:
        json.loads(text)
    except ValueError as error:
        return [str(error)]
    return []


def _applies(step: Step, known: Values) -> bool:
    if step.when is not None and not jmespath.search(step.when, known):
        return False
    return not step.takes or any(known.get(key) is not None for key in step.takes)


def _filled(text: str, known: Values) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: str(known.get(match[1], "")), text)


def _evaluate(template: Any, known: Values) -> Any:
    """A template with everything filled in; what is unknown is left out."""
    if isinstance(template, str):
        if template.startswith("="):
            return jmespath.search(template[1:], known)
        alone = re.fullmatch(r"\{(\w+)\}", template)
        return known.get(alone[1]) if alone else _filled(template, known)
    if isinstance(template, Mapping):
        found = {key: _evaluate(item, known) for key, item in template.items()}
        return {key: item for key, item in found.items() if item is not None}
    if isinstance(template, list):
        return [item for item in (_evaluate(item, known) for item in template) if item is not None]
    return template


def _merged(first: Values, second: Values) -> Values:
    return first | {
        key: _merged(first[key], value) if isinstance(first.get(key), dict) and isinstance(value, dict) else value
        for key, value in second.items()
    }


def _tags(how: str, shape: StructureShape, tags: Mapping[str, str]) -> Values:
    kind, _, of = how.partition(":")
    if of:
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        return {"TagSpecifications": [{"ResourceType": of, "Tags": listed}]}
    if isinstance(shape.members[kind], MapShape):
        return {kind: dict(tags)}
    item: Any = shape.members[kind]
    names = {name.lower().removeprefix("tag"): name for name in item.member.members}
    return {kind: [{names["key"]: key, names["value"]: value} for key, value in tags.items()]}


def _plain(answer: Any) -> Any:
    return json.loads(json.dumps(answer, default=str))


def _without(value: Any, keys: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: _without(item, keys) for key, item in value.items() if key not in keys and key != "ResponseMetadata"
        }
    if isinstance(value, list):
        return [_without(item, keys) for item in value]
    return value


if __name__ == "__main__":
    serve(AwsProvider())
