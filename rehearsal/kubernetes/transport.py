"""How the real provider's client tries again: as client-go does, and no more than that.

`Request.request` and `checkWait` in https://github.com/kubernetes/client-go/blob/v0.35.0/rest: an answer of 429 or 5xx
is waited for where it says how long; a connection that breaks is tried again for a GET alone, since of anything else
no one knows whether it was done; one that is refused is an error at once.
"""

import time

import httpx

from rehearsal.protocol import ProviderError

_MOST = 10
_BROKEN_SECONDS = 1.0


class Transport(httpx.HTTPTransport):
    """Connections to an API server, whose failures are errors of the provider."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = super().handle_request(request)
            except httpx.TransportError as error:
                broken = isinstance(error, (httpx.ReadError, httpx.RemoteProtocolError))
                if not broken or request.method != "GET" or attempt > _MOST:
                    raise ProviderError(f"{request.method} {request.url}: {error}") from error
                seconds = _BROKEN_SECONDS
            else:
                asked = _asked(answer)
                if asked is None or attempt > _MOST:
                    return answer
                answer.close()
                seconds = asked
            time.sleep(seconds)


def _asked(answer: httpx.Response) -> float | None:
    """Seconds that the server asks to wait for before the next try."""
    if answer.status_code != httpx.codes.TOO_MANY_REQUESTS and not answer.is_server_error:
        return None
    seconds = answer.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else None
