"""What the service is told, shared among its workers."""

from __future__ import annotations

from nephra_nnunet.machine import limit_bytes
from nephra_nnunet.settings import Settings

MIB = 2**20


def test_workers_share_memory_and_cores() -> None:
    """Two of them never take twice what there is."""
    one, two = (Settings(concurrency=n, memory_mib=4096, image_cache_mib=512) for n in (1, 2))
    assert one.memory.limit == 4096 * MIB
    assert two.memory.limit == 2048 * MIB
    assert two.memory.cache.budget == 256 * MIB
    many = Settings(concurrency=10_000)
    assert many.thread_count == 1
    assert Settings(concurrency=2, threads=6).thread_count == 3


def test_the_server_beside_the_worker_has_its_share() -> None:
    """Unless the memory was told in numbers."""
    assert 0 < Settings().memory.limit < limit_bytes()
