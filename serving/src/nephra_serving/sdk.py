"""The KServe SDK, imported so that it does not read our command line.

`kserve.model_server` parses `sys.argv` when it is imported and would take our arguments for its
own. Everything else in this package imports KServe from here.
"""

from __future__ import annotations

import sys

_argv, sys.argv = sys.argv, sys.argv[:1]
try:
    from kserve import Model, ModelServer
    from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady
    from kserve.protocol.dataplane import DataPlane
    from kserve.protocol.rest.server import RESTServer, metrics_handler
    from kserve.protocol.rest.v1_endpoints import register_v1_endpoints
finally:
    sys.argv = _argv

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
