"""The model server: `python -m breezeway.serving.server`. It follows the deployment store.

It is one process with one listening socket, and needs nothing of BentoML: `bentoml serve` has a
process of its own around its worker, which takes orders on a loopback port without a login.
"""

import asyncio
import gc
import logging
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import uvicorn

from breezeway.core.arguments import ArgumentParser
from breezeway.core.errors import BreezewayError
from breezeway.core.settings import Settings, silence_telemetry
from breezeway.deployment.store import DeploymentStore
from breezeway.serving.active import ActiveModels
from breezeway.serving.app import App
from breezeway.serving.connections import Connection, Limits
from breezeway.serving.http import ASGIApp, Receive, Scope, Send

LEAVE_SECONDS = 20
"""How long requests in flight may still take once the server is told to stop."""

log = logging.getLogger("breezeway.serving")


def application(settings: Settings, models: ActiveModels, lifespan: ASGIApp) -> ASGIApp:
    """The application as the settings want it.

    Args:
        lifespan: the application that starts and stops with it.
    """
    if settings.serving_key is None:
        log.warning(
            "BREEZEWAY_SERVING_KEY is not set: feedback is refused for predictions of another "
            "replica and of the time before a restart"
        )
    app = App(models, lifespan, settings)
    if not settings.serving_origins:
        return app
    from starlette.middleware.cors import CORSMiddleware

    return CORSMiddleware(
        app,
        allow_origins=sorted(settings.serving_origins),
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["Authorization", "Content-Type"],
    )


def follow(settings: Settings, models: ActiveModels) -> None:
    """Load what the deployment store points at, now and at each change."""
    store, copy = settings.deployments, settings.deployment_copy
    models.follow(DeploymentStore(store), DeploymentStore(copy))


def settle() -> None:
    """Keep the interpreter's own pauses away from requests.

    A full garbage collection visits every object that pydantic and XGBoost made when they were
    imported, which takes tens of milliseconds. These objects live until the process ends, so they
    are frozen. And a thread that loads a model yields to the event loop every 0.5 ms instead of
    the interpreter's 5 ms.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.0005)
    # Uvicorn writes a line of access log for each request as far as a logger lets it.
    logging.getLogger("uvicorn.access").propagate = False


class Lifespan:
    """Starts following the deployment store with the server, and stops with it."""

    def __init__(self, settings: Settings, models: ActiveModels):
        self._settings = settings
        self._models = models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        # Not in a thread: nobody is answered before, and XGBoost is imported once.
        follow(self._settings, self._models)
        settle()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self._models.stop)
        await send({"type": "lifespan.shutdown.complete"})


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until a signal."""
    models = ActiveModels()
    config = uvicorn.Config(
        application(settings, models, Lifespan(settings, models)),
        host=host,
        port=port,
        loop="uvloop",
        http=cast(Any, partial(Connection, limits=Limits())),
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=int(Limits().idle.seconds),
        timeout_graceful_shutdown=LEAVE_SECONDS,
    )
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        sys.exit(1)  # the log says why: the port is taken, say


def main(words: Sequence[str] | None = None) -> None:
    silence_telemetry()
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    # It would write a line for each request that is no HTTP.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    parser = ArgumentParser(prog="python -m breezeway.serving.server", description=__doc__)
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen at (%(default)s)"
    )
    parser.add_argument("--port", type=int, default=3000, help="the port (%(default)s)")
    try:
        arguments = parser.parse_args(words)
        settings = Settings.from_environment()
    except BreezewayError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    log.info("the model server starts at %s:%d", arguments.host, arguments.port)
    serve(settings, arguments.host, arguments.port)


if __name__ == "__main__":
    main()
