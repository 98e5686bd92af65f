"""Suggests names that exist in the trigger forms: dataset tags, models, versions, names of runs.

Airflow's form offers the `examples` in the schema of a text field, and takes other texts too. They
could stand in the DAG files. But then each parse would have to read the stores, and Airflow would
record a new version of each DAG for each new dataset. So they are put into the answer in which
Airflow tells its web UI the fields of a form (`GET /api/v2/dags/<id>/details`), on its way out.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any

log = logging.getLogger(__name__)

SECONDS = 2.0
"""How long a form waits for the stores."""
FRESH_SECONDS = 10
"""The web UI asks for the details of a DAG again and again while a run of it is going on."""

DETAILS = re.compile(r"/api/v2/dags/[^/]+/details$")
OURS = "breezeway"
"""Tag of the DAGs whose fields these are."""

Names = Mapping[str, Sequence[str]]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def known_names() -> Names:
    """Field → the names that its store has, at most `FRESH_SECONDS` old; a form comes without
    suggestions rather than not at all."""
    try:
        return _looked_up(int(time.monotonic() / FRESH_SECONDS))
    except Exception:
        log.exception("The forms come without suggestions.")
        return {}


@lru_cache(maxsize=1)
def _looked_up(period: int) -> Names:
    from breezeway.core.settings import Settings

    settings = Settings.from_environment()
    from breezeway.pipeline import known_names
    from breezeway_airflow.fields import contract_defaults

    return known_names.look(settings, contract_defaults(settings)[0], SECONDS)


class SuggestNames:
    """ASGI middleware that puts suggestions into the details of a DAG, and leaves all else alone.

    Args:
        app: Airflow's.
        names: gives the suggestions of each field; it may block.
    """

    def __init__(self, app: App, names: Callable[[], Names] = known_names) -> None:
        self.app = app
        self.names = names

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if not (
            scope["type"] == "http" and scope["method"] == "GET" and DETAILS.search(scope["path"])
        ):
            await self.app(scope, receive, send)
            return
        start: Message = {}
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                parts.append(message.get("body", b""))

        await self.app(scope, receive, collect)
        body = b"".join(parts)
        if start["status"] == 200:
            names = await asyncio.to_thread(self.names)
            body = with_suggestions(body, names)
        length = (b"content-length", str(len(body)).encode())
        others = [each for each in start["headers"] if each[0].lower() != length[0]]
        await send({**start, "headers": [*others, length]})
        await send({"type": "http.response.body", "body": body})


def with_suggestions(details: bytes, names: Names) -> bytes:
    """The details of a DAG, with what each field may hold among the names of its kind.

    A DAG that is not one of ours, and what is no JSON object with fields, is returned as it is.
    """
    try:
        dag = json.loads(details)
        if not any(tag["name"] == OURS for tag in dag["tags"]):
            return details
        for field, param in dag["params"].items():
            schema = param["schema"]
            allowed = re.compile(schema.get("pattern", ""))
            if fitting := [name for name in names.get(field, ()) if allowed.search(name)]:
                schema["examples"] = fitting
    except (ValueError, LookupError, TypeError, AttributeError):
        return details  # compressed, or of another version of Airflow: without suggestions
    return json.dumps(dag, separators=(",", ":")).encode()
