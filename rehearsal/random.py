"""The provider `random`: passwords and bytes that stay what they were once made."""

import base64
import secrets
import string

from rehearsal.protocol import Difference, Found, Made, Provider, ProviderError, Values, changed, serve

_SPECIAL = "!@#$%&*()-_=+[]{}<>:?"
"""Those that the real provider takes where `override_special` is absent."""


class RandomProvider(Provider):
    """RandomPassword and RandomBytes: whatever changes makes a new one."""

    def check(self, kind: str, inputs: Values) -> list[str]:
        if kind not in ("random:index/randomPassword:RandomPassword", "random:index/randomBytes:RandomBytes"):
            return [f"the rehearsal has no {kind}: add it to rehearsal/random.py"]
        length = inputs.get("length")
        return [] if isinstance(length, int) and length > 0 else [f"length is {length}, and must be at least 1"]

    def difference(self, kind: str, before: Values, outputs: Values, inputs: Values) -> Difference:  # noqa: ARG002
        found = changed(before, inputs)
        return Difference(changed=found, replaced=found)

    def create(self, kind: str, name: str, inputs: Values) -> Made:  # noqa: ARG002
        if kind.endswith("RandomBytes"):
            drawn = secrets.token_bytes(inputs["length"])
            encoded = base64.b64encode(drawn).decode()
            return Made(id=encoded, outputs=inputs | {"base64": encoded, "hex": drawn.hex()})
        letters = string.ascii_letters + string.digits
        letters += inputs.get("overrideSpecial", _SPECIAL) if inputs.get("special", True) else ""
        result = "".join(secrets.choice(letters) for _ in range(inputs["length"]))
        return Made(id="none", outputs=inputs | {"result": result})

    def read(self, kind: str, identifier: str, inputs: Values, outputs: Values) -> Found:  # noqa: ARG002
        return Found(inputs=inputs, outputs=outputs)

    def update(self, kind: str, identifier: str, before: Values, outputs: Values, inputs: Values) -> Values:  # noqa: ARG002
        raise ProviderError(f"{kind} is replaced, never updated")

    def delete(self, kind: str, identifier: str, inputs: Values, outputs: Values) -> None:
        """Nothing outside the state holds it."""


if __name__ == "__main__":
    serve(RandomProvider())
