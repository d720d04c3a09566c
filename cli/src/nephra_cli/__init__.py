"""The `nephra` command and the Python client.

`Client` talks to a gateway from Python; the modules beside it are the command line.
"""

from nephra_cli.client import Client

__all__ = ["Client"]
