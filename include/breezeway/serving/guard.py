"""Who may speak to the model server: the token, and no web page of another site.

A browser sends what any page asks it to, with the rights of the network that it is in. A page of
another site names itself in `Origin`. One that has its own name resolve to this server's address
(DNS rebinding) is told by `Host`.
"""

import hmac
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address

from breezeway.core.settings import Settings
from breezeway.serving.refusal import Refusal

REMEMBERED_HOSTS = 1000


class Guard:
    """Refuses requests before their body is read.

    Args:
        settings: token, paths that need none, allowed hosts and origins.
    """

    def __init__(self, settings: Settings):
        token = settings.serving_token
        self._authorization = f"Bearer {token.get_secret_value()}".encode() if token else None
        self._open_paths = settings.serving_open_paths
        self._hosts = frozenset(host.lower() for host in settings.serving_hosts)
        self._origins = frozenset(origin.encode() for origin in settings.serving_origins)
        self._knows = lru_cache(REMEMBERED_HOSTS)(self._is_known)

    @property
    def asks_for_a_token(self) -> bool:
        return self._authorization is not None

    def check(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Check who asks.

        Raises:
            Refusal: 401 without the token; 403 for a foreign host or origin.
        """
        host = headers.get(b"host")
        if host is not None and not self._knows(host):
            raise Refusal(
                403,
                f"This server has no name {host[:80].decode('latin-1')!r}: "
                "BREEZEWAY_SERVING_HOSTS lists its names.",
            )
        origin = headers.get(b"origin")
        if origin is not None and not self._is_own(origin, host):
            raise Refusal(
                403,
                f"Pages of {origin[:80].decode('latin-1')!r} may not call this server: "
                "BREEZEWAY_SERVING_ORIGINS lists those that may.",
            )
        if self._authorization and path not in self._open_paths:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._authorization):
                raise Refusal(401, "A bearer token is expected: `Authorization: Bearer …`.")

    def _is_own(self, origin: bytes, host: bytes | None) -> bool:
        return origin in self._origins or origin.partition(b"://")[2] == host

    def _is_known(self, host: bytes) -> bool:
        """Whether a Host header names this server. An IP address always does: no page can have it
        in place of its own name."""
        name = host.decode("latin-1").lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        name = name.removesuffix(".")
        if "*" in self._hosts or name in self._hosts:
            return True
        if any(allowed[:2] == "*." and name.endswith(allowed[1:]) for allowed in self._hosts):
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True
