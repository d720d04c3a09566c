"""The predictors behind the gateway: what they offer, and asking them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from nephra_contract import logs
from nephra_contract.errors import OperationUnknown, Unavailable
from nephra_contract.messages import BundleDescription, OperationDescription
from nephra_gateway.attempt import attempt, down, late
from nephra_gateway.figures import Figures
from nephra_gateway.retries import Emit, Loss, Patience, Telling, patiently
from nephra_gateway.settings import GatewaySettings

#: A predictor that was down is not asked again for so long.
_PAUSE_S = 1.0

#: A predictor at work may be slow to say what it offers.
_INFORMED_WITHIN_S = 15.0

#: How long a predictor may take to stop a ticket's work.
_WITHDRAWN_WITHIN_S = 30.0

_OPERATIONS = TypeAdapter(list[OperationDescription])
_BUNDLES = TypeAdapter(list[BundleDescription])

#: Between two looks at all predictors, where somebody reads the metrics.
_WATCH_S = 15.0

T = TypeVar("T")


class NotYet(Unavailable):
    """An operation that nobody offers yet: a predictor that may has never been heard of."""


@dataclass
class Predictor:
    """One predictor, and what it said when it was last asked.

    What it offered is remembered while it is down: its operations then are not unknown but
    unavailable.
    """

    name: str
    url: str
    operations: list[OperationDescription] = field(default_factory=list)
    bundles: list[BundleDescription] = field(default_factory=list)
    known: bool = False
    up: bool = False
    asked_s: float = float("-inf")
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Predictors:
    """All predictors.

    Args:
        settings: where they are, and how long is waited for them.
        http: the connections.
        figures: what is counted.
    """

    def __init__(
        self, settings: GatewaySettings, http: httpx.AsyncClient, figures: Figures | None = None
    ) -> None:
        self.figures = figures or Figures()
        self._settings = settings
        self._http = http
        self._informed_within = httpx.Timeout(_INFORMED_WITHIN_S, connect=settings.connect_s)
        self._all = [Predictor(n, u.rstrip("/")) for n, u in settings.predictors.items()]

    async def operations(self) -> list[OperationDescription]:
        """What all of them offer, those that are down too if they have ever been up."""
        await self.refresh()
        return self.offered()

    async def bundles(self) -> list[BundleDescription]:
        """The models that they have loaded."""
        await self.refresh()
        return self.loaded()

    @property
    def heard_of_all(self) -> bool:
        """Whether each of them has said at least once what it offers."""
        return all(p.known for p in self._all)

    def offered(self) -> list[OperationDescription]:
        """What they offered when they were last asked."""
        return [o for p in self._all for o in p.operations]

    def loaded(self) -> list[BundleDescription]:
        """The models that they had loaded when they were last asked."""
        return [b for p in self._all for b in p.bundles]

    def described(self, operation: str) -> OperationDescription | None:
        """An operation as it was described when its predictor was last asked."""
        found = self._lookup(operation)
        return None if found is None else found[1]

    async def down(self) -> list[str]:
        """The names of those that are not ready now."""
        ready = await asyncio.gather(*(self._ready(p) for p in self._all))
        for predictor, good in zip(self._all, ready, strict=True):
            self.figures.up.labels(predictor.name).set(good)
        return [p.name for p, good in zip(self._all, ready, strict=True) if not good]

    async def find(self, operation: str) -> tuple[Predictor, OperationDescription]:
        """Who offers an operation.

        Raises:
            OperationUnknown: nobody; the error lists what there is.
            NotYet: nobody, but a predictor that has never been up may.
        """
        found = self._lookup(operation)
        if found is None:
            await self.refresh()
            found = self._lookup(operation)
        if found is not None:
            return found
        unheard = [p.name for p in self._all if not p.known]
        if unheard:
            raise _not_yet(unheard)
        names = sorted(o.name for p in self._all for o in p.operations)
        raise OperationUnknown(
            f"Nobody offers '{operation[:100]}'.",
            f"These are offered: {', '.join(names)}.",
            operations=names,
        )

    async def expect(self, operation: str) -> None:
        """See whether it makes sense to ask for an operation: it is offered, or may soon be.

        Raises:
            OperationUnknown: nobody offers it; the error lists what there is.
            NotYet: somebody may, but that is not waited for.
        """
        try:
            await self.find(operation)
        except NotYet:
            if self._settings.retry_s == 0:
                raise

    def knows(self, operation: str) -> bool:
        """Whether some predictor has ever offered this operation; asks nobody."""
        return self._lookup(operation) is not None

    async def refresh(self) -> None:
        """Ask those that were not asked for a while what they offer."""
        await asyncio.gather(*(self._refresh(p) for p in self._all))

    async def run(self, operation: str, request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
        """Have one request done, trying again what is lost on the way.

        Cancelling this closes the connection, and so the work.

        Args:
            operation: its name.
            request: the instance.
            emit: receives progress and artifacts on the way, and what is waited for.

        Returns:
            The prediction.

        Raises:
            Relayed: the predictor's own problem.
            Unavailable: it cannot be reached, or went away, and did not come back in time.
            WorkLost: it died at this work again and again.
            TimedOut: it took too long.
        """
        telling = Telling(emit)
        patience = Patience(self._settings.retry_s)
        said = {"operation": operation, "ticket": request.get("ticket")}

        async def once() -> dict[str, Any]:
            return await self._attempt(operation, request, telling)

        return await patiently(once, patience, telling, self.figures, said)

    async def patiently(self, attempt: Callable[[], Awaitable[T]], emit: Emit) -> T:
        """Attempt something that may ask who offers what, until all needed have been heard of.

        Raises:
            NephraError: of the attempt.
        """

        async def once() -> T:
            try:
                return await attempt()
            except NotYet as error:
                raise Loss(error.extra["predictors"][0], "unknown", error) from error

        patience = Patience(self._settings.retry_s)
        return await patiently(once, patience, Telling(emit), self.figures, {})

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def watch(self) -> None:
        """Look after all predictors until cancelled, so that metrics tell how they are."""
        while True:
            await self.refresh()
            await self.down()
            await asyncio.sleep(_WATCH_S)

    async def _attempt(
        self, operation: str, request: Mapping[str, Any], emit: Emit
    ) -> dict[str, Any]:
        try:
            predictor, offered = await self.find(operation)
        except NotYet as error:
            raise Loss(error.extra["predictors"][0], "unknown", error) from error
        known = offered.request_schema.get("properties", {})
        # A predictor of somebody else's need not know of steps and attempts.
        own = {"step", "attempt"}
        instance = {k: v for k, v in request.items() if k not in own or k in known}
        url = f"{predictor.url}/v1/models/{offered.model}:predict"
        timeout = httpx.Timeout(self._settings.silence_s, connect=self._settings.connect_s)
        try:
            async with asyncio.timeout(self._settings.operation_s):
                return await attempt(self._http, predictor.name, url, instance, emit, timeout)
        except TimeoutError as error:
            raise late(predictor.name) from error
        except Loss:
            predictor.up, predictor.asked_s = False, float("-inf")
            raise

    async def withdraw(self, ticket: str) -> None:
        """Stop all work of a ticket; when this returns nothing is written for it any more.

        A predictor that does not answer, or knows no tickets, is left to notice that nobody
        listens.
        """
        await asyncio.gather(*(self._withdraw(p, ticket) for p in self._all))

    async def _withdraw(self, predictor: Predictor, ticket: str) -> None:
        try:
            await self._http.delete(
                f"{predictor.url}/tickets/{ticket}",
                timeout=httpx.Timeout(_WITHDRAWN_WITHIN_S, connect=self._settings.connect_s),
            )
        except httpx.HTTPError as error:
            logs.line(
                "ticket not withdrawn",
                ticket=ticket,
                predictor=predictor.name,
                why=type(error).__name__,
            )

    def _lookup(self, operation: str) -> tuple[Predictor, OperationDescription] | None:
        found = ((p, o) for p in self._all for o in p.operations if o.name == operation)
        return next(found, None)

    async def _refresh(self, predictor: Predictor) -> None:
        async with predictor.asking:
            pause_s = self._settings.refresh_s if predictor.up else _PAUSE_S
            if time.monotonic() - predictor.asked_s < pause_s:
                return
            was_up = predictor.up
            try:
                operations = await self._get(predictor, "/operations")
                bundles = await self._get(predictor, "/bundles")
                predictor.operations = _OPERATIONS.validate_python(operations)
                predictor.bundles = _BUNDLES.validate_python(bundles)
                predictor.up = True
                # One that is just starting may not know yet what it will offer.
                predictor.known = predictor.known or bool(predictor.operations)
            except (httpx.HTTPError, ValidationError, ValueError) as error:
                predictor.up = False
                if was_up or not predictor.known:
                    logs.line("predictor down", predictor=predictor.name, why=type(error).__name__)
            predictor.asked_s = time.monotonic()

    async def _get(self, predictor: Predictor, path: str) -> Any:
        answer = await self._http.get(predictor.url + path, timeout=self._informed_within)
        answer.raise_for_status()
        return answer.json()

    async def _ready(self, predictor: Predictor) -> bool:
        try:
            answer = await self._http.get(f"{predictor.url}/readyz", timeout=self._informed_within)
        except httpx.HTTPError:
            return False
        return answer.is_success


def _not_yet(names: list[str]) -> NotYet:
    error = down(names)
    return NotYet(error.detail, error.action, **error.extra)
