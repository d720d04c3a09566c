"""The KServe SDK, imported so that it is light and does not read our command line.

`kserve.model_server` parses `sys.argv` when it is imported and would take our arguments for its
own. `import kserve` brings a Kubernetes client, a class for each of its resources, and pandas for
one conversion of answers: half of a server's memory, and most of the time that it takes to start.
None of that is used here, so it waits until somebody asks for it.

Everything else in this package imports KServe from here.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def _without_arguments() -> Iterator[None]:
    given, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = given


def _defer_package(name: str) -> None:
    """Let submodules be imported before their package runs; it does at its first attribute."""
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    package, loader = importlib.util.module_from_spec(spec), spec.loader

    def complete(attribute: str) -> Any:
        if importlib.util.find_spec(f"{name}.{attribute}") is not None:
            raise AttributeError(attribute)  # a submodule: `import` asks here before it looks
        vars(package).pop("__getattr__", None)
        loader.exec_module(package)
        return getattr(package, attribute)

    vars(package)["__getattr__"] = complete
    sys.modules[name] = package


@contextmanager
def _stand_in(name: str) -> Iterator[None]:
    """Let modules be imported that annotate with a library's classes, without the library.

    What they hold finds the real library as soon as they use it.
    """
    if name in sys.modules:
        yield
        return
    needed = False
    module = ModuleType(name)

    def find(attribute: str) -> Any:
        if not needed and not attribute.startswith("__"):
            return object
        return getattr(importlib.import_module(name), attribute)

    vars(module)["__getattr__"] = find
    sys.modules[name] = module
    try:
        yield
    finally:
        needed = True
        del sys.modules[name]


_defer_package("kserve")
with _without_arguments(), _stand_in("pandas"):
    from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady
    from kserve.model import Model
    from kserve.model_server import ModelServer
    from kserve.protocol.dataplane import DataPlane
    from kserve.protocol.rest.server import RESTServer, metrics_handler
    from kserve.protocol.rest.v1_endpoints import register_v1_endpoints

__all__ = [
    "DataPlane",
    "InvalidInput",
    "Model",
    "ModelNotFound",
    "ModelNotReady",
    "ModelServer",
    "RESTServer",
    "ServerNotReady",
    "metrics_handler",
    "register_v1_endpoints",
]
