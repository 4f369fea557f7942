"""The server of `deepqct app`: Voila with no more than its pages need, for browsers that ask this machine by its own name.

Started by app.py in a process of its own, which ends with that one, however that ends.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado.web import HTTPError, RequestHandler
from voila.app import Voila

from deepqct.run.app import STARTED_BY

_NAMES = ("127.0.0.1", "localhost")
_NEEDLESS = r"/voila/(api/contents|tree)"  # lists of files, beside the start page
_METHODS = {"kernels": ("GET", "HEAD"), "other": ("GET", "HEAD", "POST")}  # a page may not end another one's kernel
_LOOK_S = 1.0


def refused(*, host: str, origin: str | None, port: int) -> bool:
    """True for a request by another name than this machine's own, or from a page of elsewhere.

    Parameters
    ----------
    host : str
        The Host of a request: a page that leads its own name to this machine gives that.
    origin : str or None
        The Origin of a request, if it states one.
    port : int
        The port of this server.

    Examples
    --------
    >>> from deepqct.run.server import refused
    >>> refused(host="127.0.0.1:8866", origin="http://127.0.0.1:8866", port=8866)
    False
    >>> refused(host="rebound.example:8866", origin=None, port=8866)
    True
    >>> refused(host="localhost:8866", origin="http://elsewhere.example", port=8866)
    True
    """
    if host not in [f"{name}:{port}" for name in _NAMES]:
        return True
    return origin is not None and (urlsplit(origin).scheme, urlsplit(origin).netloc) != ("http", host)


def guarded(handler: type[RequestHandler], *, port: int, kernels: bool) -> type[RequestHandler]:
    """The same handler, which answers only requests that are not `refused`.

    Parameters
    ----------
    handler : type
        A handler of Voila's.
    port : int
        The port of this server.
    kernels : bool
        True for one that could end kernels: it may only be asked.
    """
    allowed = _METHODS["kernels" if kernels else "other"]

    class Guarded(handler):  # type: ignore[valid-type, misc]
        def prepare(self) -> Awaitable[None] | None:
            asked = self.request
            if refused(host=asked.host, origin=asked.headers.get("Origin"), port=port) or asked.method not in allowed:
                raise HTTPError(403)
            answer: Awaitable[None] | None = super().prepare()
            return answer

    return Guarded


class Pages(Voila):
    """Voila without lists of files, each of its handlers `guarded`."""

    def init_settings(self) -> Any:
        """Voila's settings, without its leave for other names of this machine."""
        return {**super().init_settings(), "allow_remote_access": False, "local_hostnames": list(_NAMES)}

    def init_handlers(self) -> list[Any]:
        """Voila's handlers, but those that no page needs."""
        kept = [one for one in super().init_handlers() if not re.match(_NEEDLESS, str(one[0]))]
        return [
            (
                at,
                guarded(handler, port=self.port, kernels=re.search(r"/api/kernels/[^/]*$", str(at)) is not None),
                *more,
            )
            for at, handler, *more in kept
        ]


def _end_with(process: int) -> None:
    """End this process when the one that started it is gone, and remove its files, which nobody else would."""

    def look() -> None:
        while os.getppid() == process:
            time.sleep(_LOOK_S)
        folder = Path(sys.argv[1]).parent
        if folder.name.startswith("deepqct-app-"):
            shutil.rmtree(folder, ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, daemon=True).start()


def main() -> None:
    """Serve until a signal comes."""
    if (process := os.environ.get(STARTED_BY, "")).isdigit():
        _end_with(int(process))
    Pages.launch_instance()


if __name__ == "__main__":
    main()
