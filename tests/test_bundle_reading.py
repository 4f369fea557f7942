"""A bundle from anywhere: whatever is wrong with it is one sentence, and nothing of it is run or unfolded."""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251 - to show that nothing unpickles it
import shutil
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import deepqct as dq
from deepqct.bundles import BundleError
from deepqct.bundles.plain import from_plain
from deepqct.bundles.source import MANIFEST, seal, write_zip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A bundle of the example run, as a folder."""
    return dq.bundle(dq.run.example_run(), tmp_path_factory.mktemp("made") / "bundle")


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt; its files are links to the same bytes until one is written anew."""
    shutil.copytree(made, tmp_path / "copy", copy_function=os.link)
    return tmp_path / "copy"


def rewrite(path: Path, content: bytes) -> None:
    """Put other bytes in the place of a file, leaving those that it was linked to."""
    path.unlink()
    path.write_bytes(content)


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change bundle.json, and the manifest so that nothing else tells."""
    content = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    change(content)
    rewrite(folder / "bundle.json", json.dumps(content).encode())
    (folder / MANIFEST).unlink()
    seal(folder)
    return folder


def weights(folder: Path) -> Path:
    """The first file of weights."""
    return folder / "networks" / "radius" / "fold0.safetensors"


def resealed(folder: Path) -> Path:
    """The folder with a manifest of what it holds now, as whoever changed it on purpose would write it."""
    (folder / MANIFEST).unlink()
    seal(folder)
    return folder


def first_network(folder: Path) -> torch.nn.Module:
    """The first network of a bundle, read as predict reads it."""
    bundle = dq.load_bundle(folder)
    return bundle.network("radius", bundle.content.networks["radius"].folds[0].weights[0])


def test_folder_and_zip_are_the_same_bundle(made, tmp_path):
    """Whoever sends it by mail must get what she sent; the same files make the same zip."""
    zips = [write_zip(made, tmp_path / name) for name in ("a.zip", "b.zip")]
    assert zips[0].read_bytes() == zips[1].read_bytes()
    folder, packed = dq.load_bundle(made), dq.load_bundle(zips[0])
    assert folder.source.fingerprint == packed.source.fingerprint
    assert repr(packed.content) == repr(folder.content)  # NaN is not equal to itself
    file = folder.content.networks["tibia"].folds[1].weights[0]
    ours, theirs = (bundle.network("tibia", file).state_dict() for bundle in (folder, packed))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_bundle_never_overwrites(made):
    """A second call with the same name would put another model in the place of one that is in use."""
    with pytest.raises(BundleError, match="is there already"):
        dq.bundle(dq.run.example_run(), made)


def test_nothing_is_unpickled(copied):
    """A pickle in the place of weights would run whatever it wants."""
    ran = copied / "ran"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(ran),)

    for content in (pickle.dumps(Hostile()), b"\x80\x04" + pickle.dumps(Hostile()) * 9):
        rewrite(weights(copied), content)
        with pytest.raises(BundleError, match="no safetensors file"):
            first_network(resealed(copied))
    torch.save({"weights": Hostile()}, weights(copied).with_suffix(".pt"))
    weights(copied).with_suffix(".pt").replace(weights(copied))
    with pytest.raises(BundleError, match="no safetensors file"):
        first_network(resealed(copied))
    assert not ran.exists()


@pytest.mark.parametrize(
    "name",
    ["../outside.json", "/etc/passwd", "networks/../../outside.json", "C:/x.json", "a\\b.json", "networks//x.json",
     ".x.json", "x.pkl", "networks/./x.json", "", "x.json\0", "-".join(["long"] * 99) + ".json"],
)  # fmt: skip
def test_a_name_that_leads_outside_is_refused(copied, tmp_path, name):
    """In the manifest or as an entry of a zip, it could read any file of the machine, or write one."""
    (tmp_path / "outside.json").write_text("{}", encoding="utf-8")
    manifest = json.loads((copied / MANIFEST).read_text(encoding="utf-8"))
    listed = manifest | {"files": manifest["files"] | {name: {"bytes": 2, "sha256": "0" * 64}}}
    rewrite(copied / MANIFEST, json.dumps(listed).encode())
    with pytest.raises(BundleError, match="no name of a bundle's file"):
        dq.load_bundle(copied)
    rewrite(copied / MANIFEST, json.dumps(manifest).encode())
    packed = write_zip(copied, tmp_path / "b.zip")
    if name and "\0" not in name:
        with zipfile.ZipFile(packed, "a") as archive:
            archive.writestr(name, "{}")
        with pytest.raises(BundleError, match="no name of a bundle's file"):
            dq.load_bundle(packed)


def test_links_are_refused(copied, tmp_path):
    """A link in a folder or a zip stands for a file elsewhere; so does a folder that is one."""
    elsewhere = tmp_path / "elsewhere.json"
    shutil.copy(copied / "card.json", elsewhere)
    (copied / "card.json").unlink()
    (copied / "card.json").symlink_to(elsewhere)
    with pytest.raises(BundleError, match=r"card\.json is a link"):
        dq.load_bundle(copied)
    (copied / "card.json").unlink()
    shutil.copy(elsewhere, copied / "card.json")
    (copied / "networks").rename(tmp_path / "networks")
    (copied / "networks").symlink_to(tmp_path / "networks")
    with pytest.raises(BundleError, match="is a link"):
        dq.load_bundle(copied)
    (copied / "networks").unlink()
    (tmp_path / "networks").rename(copied / "networks")
    packed = write_zip(copied, tmp_path / "b.zip")
    entry = zipfile.ZipInfo("extra.json")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(BundleError, match=r"extra\.json is a link"):
        dq.load_bundle(packed)


def test_a_header_that_claims_ten_gigabytes_allocates_nothing(copied):
    """The numbers of a header decide how much memory is asked for, before a byte of the weights is read."""
    ten = 10 * 2**30
    claims = {"0.0.weight": {"dtype": "F32", "shape": [ten // 4], "data_offsets": [0, ten]}}
    header = json.dumps(claims).encode()
    for content in (
        struct.pack("<Q", len(header)) + header + b"\0" * 64,
        struct.pack("<Q", ten) + header,
        struct.pack("<Q", 2**64 - 1) + header,
        b"\xff" * 7,
    ):
        rewrite(weights(copied), content)
        resealed(copied)
        tracemalloc.start()
        with pytest.raises(BundleError, match=r"fold0\.safetensors"):
            first_network(copied)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 100 * 2**20


def test_a_recipe_of_a_giant_network_is_refused_before_it_is_built(copied, monkeypatch):
    """A name is enough to ask for a network of gigabytes; its weights would never fit."""
    built = []
    network = dq.bundles.weights.network
    monkeypatch.setattr(
        dq.bundles.weights,
        "network",
        lambda **how: built.append(torch.empty(0).device.type) or network(**how),
    )

    def giant(content: dict[str, Any]) -> None:
        content["networks"]["radius"]["recipe"]["arch"] = "vit_giant_patch14_224"

    with pytest.raises(BundleError, match="does not hold the tensors of its recipe"):
        first_network(changed(copied, giant))
    assert built == ["meta"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors: tensors.pop("0.0.weight"), "does not hold the tensors"),
        (lambda tensors: tensors.update({"0.0.weight": tensors["0.0.weight"][:, :2].contiguous()}), "does not hold"),
        (lambda tensors: tensors.update({"0.0.weight": tensors["0.0.weight"].double()}), "does not hold"),
        (lambda tensors: tensors.update(more=torch.zeros(3)), "does not hold"),
        (lambda tensors: tensors["0.0.weight"].fill_(float("nan")), "not finite"),
    ],
)
def test_other_tensors_than_those_of_the_recipe_are_refused(copied, change, says):
    """Weights of another network would score everybody, and nobody would notice."""
    tensors = load_file(weights(copied))
    change(tensors)
    weights(copied).unlink()
    save_file(tensors, weights(copied))
    with pytest.raises(BundleError, match=says):
        first_network(resealed(copied))


def test_tensors_that_overlap_are_refused(copied):
    """Two names for the same bytes are no weights that anybody saved."""
    content = weights(copied).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    twins = next([a, b] for a in names for b in names if a < b and header[a]["shape"] == header[b]["shape"])
    header[twins[1]]["data_offsets"] = header[twins[0]]["data_offsets"]
    written = json.dumps(header).encode()
    rewrite(weights(copied), struct.pack("<Q", len(written)) + written + content[8 + length :])
    with pytest.raises(BundleError, match="overlap or leave gaps"):
        first_network(resealed(copied))


@pytest.mark.parametrize("name", ["bundle.json", "card.json", "card.html", "networks/radius/fold0.safetensors"])
def test_one_flipped_bit_is_noticed(copied, tmp_path, name):
    """A copy that went wrong must not become a risk that is slightly wrong."""
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    rewrite(copied / name, bytes(content))
    with pytest.raises(BundleError, match=f"{Path(name).name} is not as manifest.json says"):
        dq.load_bundle(copied)
    with pytest.raises(BundleError, match=Path(name).name):
        dq.load_bundle(write_zip(copied, tmp_path / "b.zip"))
    rewrite(copied / name, bytes(content[:-1]))
    with pytest.raises(BundleError, match=r"bytes and manifest\.json says"):
        dq.load_bundle(copied)
    (copied / name).unlink()
    with pytest.raises(BundleError, match="is missing"):
        dq.load_bundle(copied)


def test_a_file_that_changes_after_the_check_is_noticed(copied):
    """Weights are read when they are needed, which may be hours later."""
    bundle = dq.load_bundle(copied)
    content = bytearray(weights(copied).read_bytes())
    content[-1] ^= 1
    rewrite(weights(copied), bytes(content))
    with pytest.raises(BundleError, match="is not as"):
        bundle.network("radius", "networks/radius/fold0.safetensors")


def test_a_zip_that_unfolds_is_refused(copied, tmp_path):
    """Forty kilobytes of zip can unfold into gigabytes; files of a bundle lie in its zip as they are."""
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, b"0" * 100 * 2**20)
    assert bomb.stat().st_size < 2**20
    tracemalloc.start()
    with pytest.raises(BundleError, match="is compressed or encrypted"):
        dq.load_bundle(bomb)
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()
    packed = write_zip(copied, tmp_path / "b.zip")
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.json", b"0" * 2**20)
    with pytest.raises(BundleError, match=r"more\.json is compressed"):
        dq.load_bundle(packed)


def test_a_zip_whose_entries_share_their_bytes_is_refused(copied, tmp_path):
    """Entries may lie about where they are: together they would be more than the zip itself."""
    packed = write_zip(copied, tmp_path / "b.zip")
    with zipfile.ZipFile(packed, "a") as archive:
        first = archive.getinfo("networks/radius/fold0.safetensors")
        for number in range(40):
            twin = zipfile.ZipInfo(f"twin{number}.safetensors")
            twin.file_size, twin.compress_size, twin.CRC = first.file_size, first.compress_size, first.CRC
            twin.header_offset, twin.external_attr = first.header_offset, first.external_attr
            archive.filelist.append(twin)
            archive._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match="more bytes than it has"):
        dq.load_bundle(packed)


def test_two_files_of_one_name_are_refused(copied, tmp_path):
    """The one that was checked need not be the one that is read."""
    packed = write_zip(copied, tmp_path / "b.zip")
    with zipfile.ZipFile(packed, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("card.json", "{}")
    with pytest.raises(BundleError, match="two files of one name"):
        dq.load_bundle(packed)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no JSON", "no plain JSON"),
        (b"[" * 100_000, "no plain JSON"),
        (b'{"format": "deepqct-bundle", "version": 1, "files": {"a.json": {"bytes": NaN, "sha256": ""}}}', "no plain JSON"),
        (b'{"format": "another"}', "not that of a bundle"),
        (b'{"format": "deepqct-bundle", "version": 2, "files": {}}', "version 2"),
        (b'{"format": "deepqct-bundle", "version": 1, "files": {}}', "lists no files"),
        (b'{"format": "deepqct-bundle", "version": 1, "files": {"a.json": {"bytes": -1, "sha256": "0"}}}', "no size"),
        (b'{"format": "deepqct-bundle", "version": 1, "files": {"a.json": {"bytes": true, "sha256": "0"}}}', "no size"),
        (b'{"format": "deepqct-bundle", "version": 1, "version": 1, "files": {}}', "no plain JSON"),
    ],
)  # fmt: skip
def test_a_manifest_that_is_none(tmp_path, content, says):
    """Everything else rests on it."""
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=says):
        dq.load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(primary=10_000), "primary is the number of no model"),
        (lambda c: c.update(more=1), "not what deepqct bundle writes"),
        (lambda c: c["made"].update(n="12"), r"made\.n is not what"),
        (lambda c: c["curated"].update(image_px=10**9), "image_px"),
        (lambda c: c["networks"]["radius"]["recipe"].update(images=10**9), "images of the radius"),
        (lambda c: c["networks"]["radius"]["recipe"].update(tta=10**9), "tta of the radius"),
        (lambda c: c["networks"]["radius"]["recipe"].update(arch="nonsense"), "cannot be"),
        (lambda c: c["networks"]["radius"]["recipe"].update(weights="imagenet"), "no bundle's"),
        (lambda c: c["networks"]["radius"]["folds"][0].update(weights=["networks/other.safetensors"]), "lacks a file"),
        (lambda c: c["networks"]["radius"]["folds"].pop(), "lacks networks of a fold"),
        (lambda c: c["networks"]["radius"]["folds"][0].update(usual=[1, 10**6, 10**6, 10**6]), "a map cannot be"),
        (lambda c: c["networks"].update(humerus=c["networks"].pop("radius")), "a bone is unknown"),
        (lambda c: c["models"][0]["how"]["coefficients"].append(1.0), "as many numbers as columns"),
        (lambda c: c["models"][0]["how"].update(intercept=None), "not finite"),
        (lambda c: c["models"][0]["how"]["scales"].__setitem__(0, 0.0), "divides by 0"),
        (lambda c: c["clouds"]["radius"]["precision"].pop(), "does not fit together"),
        (lambda c: c["clouds"]["radius"].update(limit=None), "a range of indices has no limit"),
        (lambda c: c["networks"]["radius"].update(feature_limit=None), "no limit of what they know"),
        (lambda c: c["curated"].update(motion_limit=None), "no limit of motion"),
        (lambda c: c["groups"]["order"].reverse() or c["groups"]["order"].append(0), "have no order"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(copied, change, says):
    """A table that was edited by hand would give everybody a risk, and a wrong one."""
    with pytest.raises(BundleError, match=says):
        dq.load_bundle(changed(copied, change))


def test_no_row_of_a_patient_is_in_a_bundle(made, tmp_path):
    """It leaves the cohort: ids, ages, indices and hashes of scans must stay there."""
    run = dq.run.example_run()
    text = "\n".join(path.read_text(encoding="utf-8") for path in made.glob("*.*"))
    raw = b"".join(path.read_bytes()[:100_000] for path in made.rglob("*.safetensors"))
    indices = dq.folder.read_table(run.indices)
    hashes = dq.folder.read_table(run.curation)["sha256"]
    assert not [person for person in indices["participant_id"].unique() if person in text or person.encode() in raw]
    assert not [sha for sha in hashes if sha[:8] in text or sha[:8].encode() in raw]
    # A median of an odd number of women is the value of one of them; more than a few of hers would be her row.
    for row in indices.drop(columns=["participant_id", "bone"]).itertuples(index=False):
        assert sum(repr(value) in text for value in row if value == value and value not in (0, 1)) <= 3
    with_hashes = dq.bundle(run, tmp_path / "bundle", fingerprints=True)
    assert set(dq.load_bundle(with_hashes).content.trained_on) == {sha[:16] for sha in hashes}


def test_plain_types_are_checked_to_the_depth():
    """A word in the place of a number would break hours later, or be read as one."""
    usual = {"n": 3, "mean": 1.0, "sd": None, "at_zero": 0, "per_year": 0.0, "spread": 1.0, "quantiles": [0.0, 1.0]}
    kind = dq.bundles.reference.Usual
    assert from_plain(kind, usual, where="x").quantiles == (0.0, 1.0)
    for wrong in ({"n": 3.0}, {"n": True}, {"mean": "1"}, {"quantiles": [[1.0]]}, {"quantiles": {"0": 1.0}}):
        with pytest.raises(BundleError, match="x"):
            from_plain(kind, usual | wrong, where="x")
