"""Tickets in the database. Every function takes a connection that is in a transaction."""

from nephra_gateway.store.endings import cancel
from nephra_gateway.store.leases import Beat, beat, claim, finish, give_back, record
from nephra_gateway.store.listing import (
    Queue,
    events,
    expire,
    page,
    position,
    positions,
    queue,
    versions,
)
from nephra_gateway.store.submission import get, submit, submit_done
from nephra_gateway.store.ticket import ENDED, Asked, Lease, LeaseLost, State, Ticket

__all__ = [
    "ENDED",
    "Asked",
    "Beat",
    "Lease",
    "LeaseLost",
    "Queue",
    "State",
    "Ticket",
    "beat",
    "cancel",
    "claim",
    "events",
    "expire",
    "finish",
    "get",
    "give_back",
    "page",
    "position",
    "positions",
    "queue",
    "record",
    "submit",
    "submit_done",
    "versions",
]
