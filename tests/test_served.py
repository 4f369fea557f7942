"""What the server of `deepqct app` answers, and whom: it is started for real, on this machine."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import synthetic
from conftest import ROOT

from deepqct.folder import Run, write_json
from deepqct.run.server import Pages, guarded, refused

PORT = 8866
OWN = f"127.0.0.1:{PORT}"


@pytest.mark.parametrize(("host", "origin", "no"), [
    (OWN, None, False), (OWN, f"http://{OWN}", False), (f"localhost:{PORT}", f"http://localhost:{PORT}", False),
    ("rebound.example:8866", None, True), ("127.0.0.1", None, True), ("127.0.0.1:80", None, True), ("", None, True),
    (OWN, "http://elsewhere.example", True), (OWN, "null", True), (OWN, f"https://{OWN}", True),
    (OWN, f"http://localhost:{PORT}", True), (OWN, "http://127.0.0.1:8867", True), (f"{OWN}.example", None, True),
])  # fmt: skip
def test_only_this_machines_own_name_and_pages_are_answered(host, origin, no):
    assert refused(host=host, origin=origin, port=PORT) is no


def test_every_handler_is_guarded_and_no_list_of_files_is_left(monkeypatch):
    """A new version of the server may bring handlers of its own."""
    from tornado.web import RequestHandler
    from voila.app import Voila

    paths = ["/", "/voila/render/(.*)", "/voila/tree(.*)", "/voila/api/contents(.*)", "/api/kernels/(.*)", "/new"]
    monkeypatch.setattr(Voila, "init_handlers", lambda _: [(path, RequestHandler) for path in paths])
    pages = Pages.__new__(Pages)
    monkeypatch.setattr(Pages, "port", PORT)
    made = pages.init_handlers()
    assert [path for path, _ in made] == ["/", "/voila/render/(.*)", "/api/kernels/(.*)", "/new"]
    assert all(issubclass(handler, RequestHandler) and handler.__name__ == "Guarded" for _, handler in made)
    assert guarded(RequestHandler, port=PORT, kernels=True) is not RequestHandler


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[subprocess.Popen[str], str, int, Path]]:
    """The app of a run: its process, token and port, and the folder for temporary files."""
    folder = tmp_path_factory.mktemp("served")
    run, temporary = Run(folder / "run"), folder / "temporary"
    temporary.mkdir()
    synthetic.explored_run(run.folder)
    given = {"cohort_dir": str(folder / "cohort"), "outcome": "fracture"}
    write_json(run.parameters("01_data_curation"), {"parameters": given})
    app = subprocess.Popen(
        [sys.executable, "-m", "deepqct", "app", str(run.folder), "--no-browser", "--port", "8930"], encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=os.environ | {"TMPDIR": str(temporary)},
    )  # fmt: skip
    assert app.stdout is not None
    address = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", app.stdout.readline())
    assert address is not None
    yield app, address.group(2), int(address.group(1)), temporary
    app.kill()
    app.communicate()


def ask(port: int, path: str, *, method: str = "GET", **headers: str) -> int:
    """The status of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


@pytest.mark.browser
def test_the_server_answers_its_own_pages_and_nobody_else(served):
    app, token, port, temporary = served
    key, own = f"?token={token}", f"127.0.0.1:{port}"
    assert ask(port, f"/{key}") == 200
    assert ask(port, f"/{key}", Origin=f"http://{own}") == 200
    assert ask(port, "/") == 302  # to the page that asks for the token
    assert ask(port, "/voila/render/Judge%20the%20scans.ipynb") == 302
    for headers in ({"Host": f"rebound.example:{port}"}, {"Origin": "http://elsewhere.example"}, {"Origin": "null"}):
        for path in ("/", "/voila/render/Judge%20the%20scans.ipynb", "/voila/static/voila.js", "/login"):
            assert ask(port, f"{path}{key}", **headers) == 403
    nothing = (
        "/api/contents", "/api/terminals", "/api/kernels", "/api/sessions", "/voila/api/contents", "/voila/tree", "/lab",
        "/voila/files/../../../etc/passwd", "/voila/files/pages/Judge%20the%20scans.ipynb",
    )  # fmt: skip
    for path in nothing:
        assert ask(port, f"{path}{key}") in (403, 404)
    some = "0a1b2c3d-0000-0000-0000-000000000000"
    assert ask(port, f"/api/kernels/{some}{key}", method="DELETE") == 403
    sockets = Path("/proc/net/tcp")
    rows = [line.split() for line in sockets.read_text(encoding="ascii").splitlines()[1:]] if sockets.exists() else []
    listening = {row[1] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}
    assert listening <= {f"0100007F:{port:04X}"}  # 127.0.0.1 alone
    # Killed, it leaves neither its server nor the copies that it served.
    os.kill(app.pid, signal.SIGKILL)
    until = time.monotonic() + 60
    while list(temporary.glob("deepqct-app-*")) or answers(port):
        assert time.monotonic() < until
        time.sleep(0.3)


def answers(port: int) -> bool:
    """True while somebody listens there."""
    try:
        ask(port, "/")
    except OSError:
        return False
    return True
