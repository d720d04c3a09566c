"""KServe's model server, on the address that it is told, ending when it is told."""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI

from nephra_contract import logs
from nephra_contract.errors import Unavailable
from nephra_serving import errors, sdk
from nephra_serving.calls import App, Border
from nephra_serving.hands import Hire, Offer
from nephra_serving.predictor import OperationModel
from nephra_serving.scrapes import scraped
from nephra_serving.settings import ServingSettings
from nephra_serving.work import Workers

#: How long work that was told to stop may take to clean up before the process ends anyway.
_LAST_S = 5.0


class Server(sdk.ModelServer):  # type: ignore[misc]
    """Serves what its workers offer over the KServe V1 protocol; no gRPC.

    Args:
        predictor: the service's name.
        hire: starts a worker.
        settings: where and how.
    """

    def __init__(self, predictor: str, hire: Hire, settings: ServingSettings) -> None:
        super().__init__(http_port=settings.port, workers=1, enable_grpc=False)
        self.predictor = predictor
        self._heartbeat_s = settings.heartbeat_s
        #: Set when the workers are ready for the first time.
        self.ready = threading.Event()
        self.work = Workers(hire, settings.concurrency, self._offer, self._give_up)
        self.dataplane = _DataPlane(self.registered_models, self.work)
        self.rest = RestServer(self, settings)

    def start(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            NephraError: there can be no worker.
            SystemExit: the address is taken.
        """
        asyncio.run(self.rest.start())
        if self.work.failure is not None:
            raise self.work.failure

    def _offer(self, offer: Offer) -> None:
        """Serve what the workers offer, now that they are ready."""
        models = self.registered_models.get_models()
        models.clear()
        for operation in offer.operations:
            self.register_model(OperationModel(operation, self.work, self._heartbeat_s))
        self.ready.set()

    def _give_up(self) -> None:
        self.rest.end()


class _DataPlane(sdk.DataPlane):  # type: ignore[misc]
    """KServe's, for models that are not known before they are loaded."""

    def __init__(self, models: Any, work: Workers) -> None:
        super().__init__(models)
        self._work = work

    async def model_ready(
        self, model_name: str, disable_predictor_health_check: bool = False
    ) -> bool:
        """Whether a model is ready; KServe asks with the flag before it passes on a request.

        A request is taken while a worker is replaced: it waits for the new one.

        Raises:
            Unavailable: nobody knows yet which models there are.
            ModelNotFound: there is none of that name.
        """
        if self._work.offer is None:
            raise _loading()
        ready: bool = await super().model_ready(model_name, disable_predictor_health_check)
        return ready or disable_predictor_health_check


class RestServer(sdk.RESTServer):  # type: ignore[misc]
    """KServe's REST server, with an application of its own for each instance.

    KServe's listens on all interfaces, and shares one application within a process.
    """

    def __init__(self, server: Server, settings: ServingSettings) -> None:
        super().__init__(
            "",
            server.dataplane,
            server.model_repository_extension,
            settings.port,
            grace_period=int(settings.drain_s + _LAST_S),
        )
        self._name = server.predictor
        self._settings = settings
        self.config.host = settings.host
        self.config.lifespan = "off"
        self.config.ws = "none"
        self.config.server_header = False
        self._work = server.work
        self._server = _UvicornServer(self.config, server.work, settings.drain_s)

    def application(self) -> App:
        """A fresh application."""
        app = FastAPI(title=self._name, openapi_url=None, docs_url=None, redoc_url=None)
        self._register_endpoints(app)
        errors.install(app)
        return Border(app, self._settings.max_body_bytes)

    async def start(self) -> None:
        """Serve until told to end."""
        self.config.app = self.application()
        with scraped(self._settings.host, self._settings.metrics_port):
            self._work.begin()
            try:
                await self._server.serve()
            finally:
                await self._work.close(_LAST_S)
        logs.line("ended")

    def listening(self, timeout_s: float) -> str:
        """Wait until the server listens; gives its URL.

        Raises:
            TimeoutError: it does not, for so long.
        """
        if not self._server.listening.wait(timeout_s):
            raise TimeoutError("the server does not listen")
        return self._server.url

    def end(self) -> None:
        """Tell the server to end, from any thread."""
        self._server.handle_exit(signal.SIGTERM, None)

    def _register_endpoints(self, app: FastAPI) -> None:
        """KServe's V1 routes; of V2 only health, since anybody could unload models there."""
        sdk.register_v1_endpoints(app, self.dataplane, self.model_repository_extension)
        router = APIRouter()
        router.add_api_route("/metrics", sdk.metrics_handler, methods=["GET"])
        for path in ("/", "/healthz", "/v2/health/live"):
            router.add_api_route(path, self._live, methods=["GET"])
        for path in ("/readyz", "/v2/health/ready"):
            router.add_api_route(path, self._ready, methods=["GET"])
        router.add_api_route("/operations", self._operations, methods=["GET"])
        router.add_api_route("/bundles", self._bundles, methods=["GET"])
        router.add_api_route("/tickets/{ticket}", self._withdraw, methods=["DELETE"])
        app.include_router(router)

    async def _live(self) -> dict[str, str]:
        return {"status": "alive"}

    async def _ready(self) -> dict[str, bool]:
        """Every worker, and with it every model, not just the server as KServe's own says."""
        if not self._work.ready:
            raise _loading()
        return {"ready": True}

    async def _operations(self) -> list[dict[str, Any]]:
        return [o.model_dump(mode="json") for o in self._offer().operations]

    async def _bundles(self) -> list[dict[str, Any]]:
        return [b.model_dump(mode="json") for b in self._offer().bundles]

    def _offer(self) -> Offer:
        """What the workers offer; remembered while one of them is replaced."""
        if self._work.offer is None:
            raise _loading()
        return self._work.offer

    async def _withdraw(self, ticket: str) -> dict[str, int]:
        return {"withdrawn": await self._work.withdraw(ticket)}


def _loading() -> Unavailable:
    return Unavailable(
        "The predictor is not ready: its workers load what they need.",
        "Try again shortly.",
        code="model_not_ready",
    )


class _UvicornServer(uvicorn.Server):
    """Uvicorn that lets accepted work finish when the process is told to end."""

    def __init__(self, config: uvicorn.Config, work: Workers, drain_s: float) -> None:
        super().__init__(config)
        self._work = work
        self._drain_s = drain_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self.listening = threading.Event()
        self.url = ""

    async def serve(self, sockets: Any = None) -> None:
        """Serve until told to end."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: Any = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self.url = f"http://{host}:{port}"
            logs.line("listening", host=host, port=port)
            self.listening.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On the first signal drain, then stop the work; on a second one stop it at once.

        Uvicorn closes the listeners and idle connections, lets the others finish what they
        carry, and ends with the last of them. Its own handler would raise the signal again at the
        end, and kill the process with it.
        """
        del frame
        if self._loop is not None:
            delay_s = 0.0 if self.should_exit else self._drain_s
            self._loop.call_soon_threadsafe(self._loop.call_later, delay_s, self._work.stop)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
