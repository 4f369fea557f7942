"""A Jupyter server extension that serves the files of the installed itkwidgets, so that 3D views need no internet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_path


def viewer_files() -> Path:
    """Return the folder with the files that itkwidgets itself installed for the browser.

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        If itkwidgets is not installed with its files.

    Examples
    --------
    >>> from deepqct.widgets.lab import viewer_files
    >>> viewer_files().name
    'itkwidgets'
    """
    for folder in jupyter_path("nbextensions", "itkwidgets"):
        if Path(folder, "index.js").exists():
            return Path(folder)
    raise FileNotFoundError(f"itkwidgets' files are not under {sys.prefix}; install deepqct again.")


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "deepqct.widgets.lab"}]


def _load_jupyter_server_extension(server: Any) -> None:
    from jupyter_server.base.handlers import FileFindHandler
    from jupyter_server.utils import url_path_join

    try:
        files = viewer_files()
    except FileNotFoundError as error:
        server.log.warning(str(error))
        return
    address = url_path_join(server.web_app.settings["base_url"], r"/deepqct/itkwidgets/(.*)")
    server.web_app.add_handlers(".*$", [(address, FileFindHandler, {"path": [str(files)]})])
