"""On what a run was made: processor, memory, accelerator, packages and the state of the code; no name of host or person."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import psutil

from deepqct.folder import PACKAGE


def machine() -> dict[str, Any]:
    """The machine that this process runs on, without a name of host, person or place.

    Returns
    -------
    dict
        processor, cores (logical ones), memory_gb, accelerator (the graphics card, or ``none``) and system.

    Examples
    --------
    >>> from deepqct.run.machine import machine
    >>> list(machine())
    ['processor', 'cores', 'memory_gb', 'accelerator', 'system']
    """
    return {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "accelerator": _accelerator(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def processor() -> str:
    """The processor as it calls itself, such as ``AMD EPYC``.

    Examples
    --------
    >>> from deepqct.run.machine import processor
    >>> bool(processor())
    True
    """
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE):
            return " ".join(found.group(1).split())
    if sys.platform == "darwin" and (said := _said("sysctl", "-n", "machdep.cpu.brand_string")):
        return said
    return platform.processor() or platform.machine()


def packages() -> dict[str, str]:
    """The installed version of every package that deepqct itself asks for, by name; the tools of developers are left out.

    Examples
    --------
    >>> from deepqct.run.machine import packages
    >>> "torch" in packages()
    True
    """
    found = {}
    with suppress(PackageNotFoundError):
        for text in requires("deepqct") or ():
            name = re.split(r"[^\w.-]", text, maxsplit=1)[0]
            if "extra ==" not in text:
                with suppress(PackageNotFoundError):
                    found[name.lower()] = version(name)
    return dict(sorted(found.items()))


def git_state() -> dict[str, Any] | None:
    """The commit of the checkout that deepqct was imported from, and whether files differ from it; None without one.

    Examples
    --------
    >>> from deepqct.run.machine import git_state
    >>> git_state() is None or sorted(git_state()) == ["changed", "commit"]
    True
    """
    here = ("git", "-C", str(PACKAGE.parent))
    # A package in an environment that lies within somebody's checkout is not of that checkout.
    if not _said(*here, "ls-files", "deepqct/__init__.py"):
        return None
    commit = _said(*here, "rev-parse", "HEAD")
    if not commit:
        return None
    return {"commit": commit, "changed": bool(_said(*here, "status", "--porcelain", "--", "deepqct", "notebooks"))}


def _accelerator() -> str:
    """The graphics card by its name, without loading torch; ``none`` where there is none."""
    if found := _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"):
        return ", ".join(sorted(set(found.splitlines())))
    return "Apple GPU" if sys.platform == "darwin" and platform.machine() == "arm64" else "none"


def _said(*command: str) -> str:
    """What a program prints; empty if it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
