"""The bill of materials of a release: every package of requirements.lock, as CycloneDX in JSON.

``python .ci/sbom.py dist`` writes ``dist/deepqct-<version>.cdx.json``. It needs no network: names, versions, hashes and who
asks for whom stand in the lock, licences in what is installed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import sys
import uuid
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SPECIFICATION = "1.5"
_ENTRY = re.compile(
    r"^(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)[ ]*(?:;[ ]*(?P<marker>[^\\\n]+?))?[ ]*\\?\n"
    r"(?P<hashes>(?:[ ]+--hash=\S+(?: \\)?\n)*)(?P<via>(?:[ ]+#[^\n]*\n)*)",
    flags=re.MULTILINE,
)


def bill(lock: str, *, name: str, version: str, licence: str, made: dt.datetime) -> dict[str, Any]:
    """The bill of materials of a package whose lock is given.

    Parameters
    ----------
    lock : str
        The content of requirements.lock.
    name, version, licence : str
        Of the package itself; the licence as SPDX names it.
    made : datetime
        When the bill is made.

    Returns
    -------
    dict
        A document of CycloneDX 1.5. Of the same lock it has the same serial number.
    """
    entries = list(_ENTRY.finditer(lock))
    own = f"pkg:pypi/{name}@{version}"
    refs: dict[str, list[str]] = {}
    for entry in entries:
        refs.setdefault(_normal(entry["name"]), []).append(_purl(entry))
    asks: dict[str, set[str]] = {own: set()} | {_purl(entry): set() for entry in entries}
    for entry in entries:
        for asker in _askers(entry["via"]):
            for ref in [own] if asker == name else refs.get(asker, []):
                asks[ref].add(_purl(entry))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, own + hashlib.sha256(lock.encode()).hexdigest())}",
        "version": 1,
        "metadata": {
            "timestamp": made.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "component": {
                "type": "application", "bom-ref": own, "name": name, "version": version, "purl": own,
                "licenses": [{"license": {"id": licence}}],
            },
        },
        "components": [_component(entry) for entry in entries],
        "dependencies": [{"ref": ref, "dependsOn": sorted(others)} for ref, others in asks.items()],
    }  # fmt: skip


def _component(entry: re.Match[str]) -> dict[str, Any]:
    """One package of the lock."""
    purl = _purl(entry)
    component: dict[str, Any] = {
        "type": "library", "bom-ref": purl, "name": entry["name"], "version": entry["version"], "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": value} for value in re.findall(r"sha256:([0-9a-f]{64})", entry["hashes"])],
    }  # fmt: skip
    if licences := _licences(entry["name"]):
        component["licenses"] = licences
    if entry["marker"]:
        component["properties"] = [{"name": "deepqct:marker", "value": entry["marker"]}]
    return component


def _licences(name: str) -> list[dict[str, Any]]:
    """The licence that an installed package states, as an SPDX expression or in its own words; empty if it is not known."""
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return []
    if expression := said.get("License-Expression"):
        return [{"expression": expression}]
    classified = [
        value.split(" :: ")[-1] for value in said.get_all("Classifier") or [] if value.startswith("License ::")
    ]
    words = said.get("License") or ""
    named = classified or ([words] if words and "\n" not in words and len(words) < 80 else [])
    return [{"license": {"name": one}} for one in dict.fromkeys(named)]


def _askers(via: str) -> list[str]:
    """Who asks for a package, from the comment below it."""
    words = [line.strip(" #").removeprefix("via").strip() for line in via.splitlines()]
    return [_normal(word.split(" ")[0]) for word in words if word and not word.startswith("-")]


def _purl(entry: re.Match[str]) -> str:
    """The address of a package in its registry."""
    return f"pkg:pypi/{_normal(entry['name'])}@{entry['version']}"


def _normal(name: str) -> str:
    """A package's name as the registry spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Write the bill into the folder that is named on the command line."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    source = (ROOT / "deepqct" / "__init__.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', source, flags=re.MULTILINE)[0]
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    made = dt.datetime.fromtimestamp(int(epoch), dt.UTC) if epoch else dt.datetime.now(dt.UTC)
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    content = bill(lock, name="deepqct", version=version, licence="Apache-2.0", made=made)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"deepqct-{version}.cdx.json"
    unfinished = path.with_name(f".part-{path.name}")
    unfinished.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(path)
    sys.stdout.write(f"Bill of materials: {path}, {len(content['components'])} packages\n")


if __name__ == "__main__":
    main()
