"""The predictors behind the gateway: what they offer, and asking them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import TypeAdapter, ValidationError

from nephra_contract import logs
from nephra_contract.errors import InternalError, OperationUnknown, TimedOut, Unavailable
from nephra_contract.messages import BundleDescription, Event, OperationDescription, Problem
from nephra_gateway.problems import Relayed
from nephra_gateway.settings import GatewaySettings

NDJSON = "application/x-ndjson"

#: A predictor that was down is not asked again for so long.
_PAUSE_S = 1.0

#: A predictor at work may be slow to say what it offers.
_INFORMED_WITHIN_S = 15.0

#: How long a predictor may take to stop a ticket's work.
_WITHDRAWN_WITHIN_S = 30.0

_OPERATIONS = TypeAdapter(list[OperationDescription])
_BUNDLES = TypeAdapter(list[BundleDescription])

Emit = Callable[[Event], None]


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
        http: the connections; closed by whoever made them.
    """

    def __init__(self, settings: GatewaySettings, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http
        self._informed_within = httpx.Timeout(_INFORMED_WITHIN_S, connect=settings.connect_s)
        self._all = [Predictor(n, u.rstrip("/")) for n, u in settings.predictors.items()]

    async def operations(self) -> list[OperationDescription]:
        """What all of them offer, those that are down too if they have ever been up."""
        await self.refresh()
        return [o for p in self._all for o in p.operations]

    async def bundles(self) -> list[BundleDescription]:
        """The models that they have loaded."""
        await self.refresh()
        return [b for p in self._all for b in p.bundles]

    async def down(self) -> list[str]:
        """The names of those that are not ready now."""
        ready = await asyncio.gather(*(self._ready(p) for p in self._all))
        return [p.name for p, good in zip(self._all, ready, strict=True) if not good]

    async def find(self, operation: str) -> tuple[Predictor, OperationDescription]:
        """Who offers an operation.

        Raises:
            OperationUnknown: nobody; the error lists what there is.
            Unavailable: nobody, but a predictor that has never been up may.
        """
        found = self._lookup(operation)
        if found is None:
            await self.refresh()
            found = self._lookup(operation)
        if found is not None:
            return found
        unheard = [p.name for p in self._all if not p.known]
        if unheard:
            raise _down(unheard)
        names = sorted(o.name for p in self._all for o in p.operations)
        raise OperationUnknown(
            f"Nobody offers '{operation[:100]}'.",
            f"These are offered: {', '.join(names)}.",
            operations=names,
        )

    def knows(self, operation: str) -> bool:
        """Whether some predictor has ever offered this operation; asks nobody."""
        return self._lookup(operation) is not None

    async def refresh(self) -> None:
        """Ask those that were not asked for a while what they offer."""
        await asyncio.gather(*(self._refresh(p) for p in self._all))

    async def run(self, operation: str, request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
        """Have one request done; cancelling this closes the connection, and so the work.

        Args:
            operation: its name.
            request: the instance.
            emit: receives progress and artifacts on the way.

        Returns:
            The prediction.

        Raises:
            Relayed: the predictor's own problem.
            Unavailable, TimedOut: it cannot be reached, went away, or took too long.
        """
        predictor, offered = await self.find(operation)
        try:
            async with asyncio.timeout(self._settings.operation_s):
                return await self._stream(predictor, offered.model, request, emit)
        except TimeoutError as error:
            raise _late(predictor.name) from error
        except httpx.ReadTimeout as error:
            raise _late(predictor.name) from error
        except ValueError as error:
            raise _strange(predictor.name) from error
        except httpx.HTTPError as error:
            predictor.up, predictor.asked_s = False, float("-inf")
            raise _down([predictor.name]) from error

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

    async def _stream(
        self, predictor: Predictor, model: str, request: Mapping[str, Any], emit: Emit
    ) -> dict[str, Any]:
        async with self._http.stream(
            "POST",
            f"{predictor.url}/v1/models/{model}:predict",
            json={"instances": [dict(request)]},
            headers={"Accept": NDJSON},
            timeout=httpx.Timeout(self._settings.silence_s, connect=self._settings.connect_s),
        ) as response:
            if response.is_error:
                await response.aread()
                raise _problem(predictor.name, response)
            if response.headers.get("content-type", "").startswith("application/json"):
                # Somebody else's KServe predictor, that does not stream.
                await response.aread()
                return _prediction(predictor.name, response.json())
            async for event in _events(predictor.name, response):
                if event.event == "problem":
                    raise Relayed(Problem.model_validate(event.problem))
                if event.event == "result":
                    return _prediction(predictor.name, event.result)
                emit(event)
        raise _down([predictor.name])

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
                predictor.up = predictor.known = True
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


async def _events(name: str, response: httpx.Response) -> AsyncIterator[Event]:
    async for line in response.aiter_lines():
        if line.strip():
            try:
                yield Event.model_validate_json(line)
            except ValidationError as error:
                raise _strange(name) from error


def _prediction(name: str, result: Any) -> dict[str, Any]:
    predictions = result.get("predictions") if isinstance(result, dict) else None
    if not isinstance(predictions, list) or len(predictions) != 1:
        raise _strange(name)
    prediction: dict[str, Any] = predictions[0]
    return prediction


def _problem(name: str, response: httpx.Response) -> Relayed | Unavailable:
    """A predictor's problem; what has none comes from a proxy on the way."""
    try:
        problem = Problem.model_validate(response.json())
    except ValueError:
        return _down([name])
    return Relayed(problem, response.headers.get("retry-after"))


def _down(names: list[str]) -> Unavailable:
    said = " and ".join(f"'{n}'" for n in names)
    return Unavailable(
        f"The predictor {said} does not answer.",
        "Try again shortly; GET /readyz says when it is back.",
        predictors=names,
    )


def _late(name: str) -> TimedOut:
    return TimedOut(
        f"The predictor '{name}' took too long.",
        "Try again, with a smaller volume or a longer limit.",
        predictors=[name],
    )


def _strange(name: str) -> InternalError:
    logs.line("predictor answered strangely", predictor=name)
    return InternalError(
        f"The predictor '{name}' gave an answer that is not understood.",
        "Check that gateway and predictors are of one version.",
        code="predictor_answer_invalid",
    )
