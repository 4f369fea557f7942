"""Mutants of valid files for every reader: crashes, hangs, memory beyond the file's size, errors that are no sentence.

`make bench-fuzz`; hours for 20,000 mutants a reader. `PART=isq` does one reader (or several, with commas), `N=500` fewer
mutants. What was interrupted goes on where it was, and each mutant can be made again from its number. Aim: 0 of everything
but sentences.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import re
import resource
import shutil
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import table

sys.path.insert(0, str(Path(__file__).parents[1]))

LIMIT_S, ROOM = 5.0, 50 * 2**20  # for one mutant: seconds, and bytes beyond three times its file
COUNTED = ("crash", "hang", "memory", "raw", "nonsense", "refused", "read")
_NUMBERS = (0, 1, -1, 2, 127, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**62, 10**9, 400, 46341)
_FLOATS = (0.0, -1.0, float("nan"), float("inf"), 1e308, 1e-308, -0.0)
_WORDS = (
    b"nan", b"-inf", b"1e308", b"-1", b"0", b"1000000000", b"../../x", b"/etc/passwd", b"=1+1", b"<script>", b"x" * 300,
    b"\xff\xfe", b"9" * 5000, b"", b"1,5", b'"', b"[" * 3000, b"{}", b"null", b"n/a", b"\n", b"\t", b"\0",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One reader: its valid files, as bytes, and what reads one of them at a path."""

    seeds: list[bytes]
    read: Callable[[Path], object]
    name: str  # of the file
    text: bool = False
    head: int = 4096  # bytes at the beginning that are changed most often
    fix: Callable[[bytes], bytes] | None = None  # mends what would hide all else, such as a sum


def mutant(part: Part, k: int) -> bytes:
    """The mutant of that number."""
    rng = np.random.default_rng([20_000, zlib.crc32(part.name.encode()), k])
    data = bytearray(part.seeds[int(rng.integers(len(part.seeds)))])
    for _ in range(int(rng.integers(1, 4))):
        kind = rng.choice(
            ["bits", "field", "word", "cut", "more", "swap", "drop"], p=[0.3, 0.25, 0.2, 0.1, 0.03, 0.06, 0.06]
        )
        if not data:
            break
        near = min(part.head, len(data)) if rng.random() < 0.8 else len(data)
        at = int(rng.integers(near))
        if kind == "bits":
            for place in rng.integers(near, size=int(rng.integers(1, 9))):
                data[place] ^= 1 << int(rng.integers(8))
        elif kind == "field" and not part.text:
            form = str(rng.choice(["<b", "<h", "<i", "<q", ">i", ">h", "<f", "<d"]))
            size = struct.calcsize(form)
            at = max(0, min(at - at % min(size, 4), len(data) - size))
            value = float(rng.choice(_FLOATS)) if form[1] in "fd" else int(_NUMBERS[int(rng.integers(len(_NUMBERS)))])
            bits = 8 * size
            packed = (
                np.array(value).astype(form[0] + {"f": "f4", "d": "f8"}[form[1]]).tobytes()
                if form[1] in "fd"
                else (value % 2**bits).to_bytes(size, "little" if form[0] == "<" else "big")
            )
            data[at : at + size] = packed
        elif kind in ("word", "field"):
            tokens = [m.span() for m in re.finditer(rb"[-+.\w/]+", bytes(data[:near]))]
            first, last = tokens[int(rng.integers(len(tokens)))] if tokens else (at, at)
            word = _WORDS[int(rng.integers(len(_WORDS)))]
            data[first:last] = word if part.text or rng.random() < 0.3 else word[: last - first].ljust(last - first)
        elif kind == "cut":
            del data[int(rng.integers(len(data))) :]
        elif kind == "more":
            data += bytes(rng.integers(0, 256, int(rng.integers(1, 2000)), dtype=np.uint8))
        elif kind == "swap":
            other = part.seeds[int(rng.integers(len(part.seeds)))]
            end = int(rng.integers(at, len(data) + 1))
            data[at:end] = other[at:end]
        else:
            del data[at : at + int(rng.integers(1, 64))]
    return part.fix(bytes(data)) if part.fix else bytes(data)


# What reads


def sentences() -> tuple[type[Exception], ...]:
    """The package's own errors."""
    from deepqct.bundles.source import BundleError
    from deepqct.cohort import CohortError, ReviewError
    from deepqct.folder import FileError
    from deepqct.run.parameters import ParameterError
    from deepqct.scans import ScanError

    return ScanError, CohortError, ReviewError, FileError, ParameterError, BundleError


def read_scan(path: Path) -> object:
    """A scan by its header and by its voxels, as `check` and the curation read it; what it says must be possible."""
    from deepqct.scans import ScanError
    from deepqct.scans import read_scan as read
    from deepqct.scans.formats import read_head

    head = None
    try:
        head = read_head(path)
        scan = read(path)
    except ScanError as error:
        if "no density calibration" not in str(error):
            raise
        scan = read(path, unit="density")
    fine = (
        head is not None
        and min(scan.native.shape) > 0
        and np.isfinite([*scan.voxel_mm, scan.slope, scan.intercept]).all()
    )
    return fine and all(0.02 <= edge <= 0.5 for edge in scan.voxel_mm)


def read_mask(path: Path) -> object:
    """A mask."""
    from deepqct.scans import read_mask as read

    mask, edges = read(path)
    return min(mask.shape) > 0 and all(np.isfinite(edge) and edge > 0 for edge in edges)


def read_series(path: Path) -> object:
    """A mutant among the other slices of its series."""
    return read_scan(path.parent)


def check_table(path: Path) -> object:
    """A cohort folder that holds the mutant."""
    from deepqct.cohort import check_cohort

    cohort, faults = check_cohort(path.parent)
    if cohort is None:
        from deepqct.cohort import CohortError

        raise CohortError(faults[0] if faults else "")
    numbers = cohort.participants.select_dtypes("number")
    return bool((np.isfinite(numbers) | numbers.isna()).all(axis=None)) and len(cohort.scans) > 0


def read_preset(path: Path) -> object:
    """A preset."""
    from deepqct.run.plan import plan_run

    plan = plan_run("virtual", out=path.parent / "run", preset=str(path))
    values = [v for job in plan.parameters.values() for v in job.values() if isinstance(v, float)]
    return bool(np.isfinite(values).all())


def read_reviews(path: Path) -> object:
    """The readers' decisions."""
    from deepqct.cohort.reviews import read_reviews as read
    from deepqct.cohort.reviews import standing

    standing(read(path.parent))
    return True


def read_weights(path: Path) -> object:
    """A file of trained weights as the parameter `weights` names it."""
    from deepqct.networks.backbones import network

    network(arch="resnet18", channels=1, weights=str(path))
    return True


def read_bundle(path: Path) -> object:
    """A bundle whose manifest was written anew for the mutant, as somebody who changes it on purpose would."""
    import deepqct as dq
    from deepqct.bundles.source import MANIFEST, seal

    folder = path.parent
    (folder / MANIFEST).unlink(missing_ok=True)
    seal(folder)
    bundle = dq.load_bundle(folder)
    for bone in bundle.content.networks:
        for fold in bundle.content.networks[bone].folds:
            for name in fold.weights:
                bundle.network(bone, name)
    return True


# Valid files


def bytes_of(write: Callable[[Path], object], name: str) -> bytes:
    """What a function writes to a file of that name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        write(path)
        return path.read_bytes()


TRAINED = ("safetensors", "bundle.json", "manifest.json")


def parts(folder: Path, *, networks: bool) -> dict[str, Part]:
    """Every reader with its valid files; `folder` receives what must lie beside the mutants.

    Those of networks take a minute to be trained, and are left out without `networks`.
    """
    from files import dicom_slice, write_aim_bytes, write_isq, write_picture

    rng = np.random.default_rng(1)
    voxels = rng.integers(-3000, 12_000, (6, 9, 10)).astype(np.int16)
    mask = (rng.random((6, 30, 30)) < 0.5).astype(np.int8) * 127
    found: dict[str, Part] = {}
    for version in (20, 30):
        seeds = [
            bytes_of(lambda p, v=version, m=m: write_aim_bytes(p, voxels, version=v, margin=m), "a.AIM")
            for m in ((0, 0, 0), (1, 2, 0))
        ]
        found[f"aim{version}"] = Part(seeds, read_scan, "a.AIM", head=420)
    from test_packed import bits, runs, two

    packed = []
    for version in (20, 30):
        for kind, data in ((0x150001, two(mask, version)), (0x80002, runs(mask, version)), (0x60003, bits(mask))):
            packed.append(bytes_of(lambda p, k=kind, d=data, v=version: packed_aim(p, k, d, mask.shape, v), "a.AIM"))
    found["aim-packed"] = Part(packed, read_mask, "m.AIM", head=420)
    found["isq"] = Part([bytes_of(lambda p: write_isq(p, voxels), "a.ISQ")], read_scan, "a.ISQ", head=2560)
    from test_manufacturer import write_gobj

    boxes = [(z, 740 + z, 860, 21, 31) for z in range(6)]
    found["gobj"] = Part([bytes_of(lambda p: write_gobj(p, boxes), "a.GOBJ")], read_mask, "a.GOBJ", head=2048)
    series = folder / "dicom"
    series.mkdir(parents=True, exist_ok=True)
    slices = [dicom_slice(plane, (0, 0, 0.1 * k)) for k, plane in enumerate(voxels)]
    for k, one in enumerate(slices):
        one.save_as(series / f"{k:03d}.dcm", enforce_file_format=True)
    found["dicom"] = Part([(series / f"{k:03d}.dcm").read_bytes() for k in (2, 3)], read_series, "002.dcm", head=1500)
    frames = dicom_slice(voxels, (0, 0, 0))
    frames.SpacingBetweenSlices = 0.1
    found["dicom-frames"] = Part(
        [bytes_of(lambda p: frames.save_as(p, enforce_file_format=True), "a.dcm")], read_scan, "a.dcm", head=1500
    )
    kinds = (voxels, voxels.astype(np.float32), mask.astype(np.uint8))
    images = {
        "nifti": ".nii",
        "nifti-gz": ".nii.gz",
        "mha": ".mha",
        "mha-gz": ".mha",
        "nrrd": ".nrrd",
        "nrrd-gz": ".nrrd",
    }
    for name, ending in images.items():
        squeezed = name.endswith("-gz") and ending != ".nii.gz"
        seeds = [bytes_of(lambda p, v=v, s=squeezed: write_picture(p, v, packed=s), f"a{ending}") for v in kinds]
        found[name] = Part(seeds, read_scan, f"a{ending}", head=600, fix=repack if ending == ".nii.gz" else None)
    cohort(folder / "cohort")
    for name in ("participants.tsv", "scans.tsv", "contours.tsv", "indices.tsv", "participants.json"):
        found[name] = Part([(folder / "cohort" / name).read_bytes()], check_table, name, text=True)
    found["review.csv"] = Part([(folder / "cohort" / "review.csv").read_bytes()], read_reviews, "review.csv", text=True)
    from deepqct.folder import PACKAGE

    presets = [path.read_bytes() for path in sorted((PACKAGE / "run" / "presets").glob("*.yaml"))]
    found["presets"] = Part(presets, read_preset, "own.yaml", text=True)
    return found | (trained(folder) if networks else {})


def packed_aim(path: Path, kind: int, data: bytes, shape: tuple[int, ...], version: int) -> None:
    """An AIM whose data block holds something other than plain voxels."""
    from files import write_aim_bytes

    write_aim_bytes(path, np.zeros(shape, np.int8), kind=kind, version=version)
    whole = bytearray(path.read_bytes())
    n = int(np.prod(shape))
    at = 40 if version == 30 else 12  # of the length of the data block
    struct.pack_into("<q" if version == 30 else "<i", whole, at, len(data))
    path.write_bytes(bytes(whole[:-n]) + data)


def repack(data: bytes) -> bytes:
    """Most mutants of a compressed file end at its sum; every second one is changed before it is compressed."""
    import gzip

    if zlib.crc32(data) % 2:
        return data
    try:
        plain = bytearray(gzip.decompress(data))
    except (OSError, EOFError, zlib.error):
        return data
    if not plain:
        return data
    rng = np.random.default_rng(zlib.crc32(data))
    for at in rng.integers(40, 352, 4):
        plain[at % len(plain)] = int(rng.integers(256))
    return gzip.compress(bytes(plain))


def cohort(folder: Path) -> None:
    """A cohort with every table."""
    from files import write_aim_bytes

    from deepqct.cohort import decide

    (folder / "scans").mkdir(parents=True, exist_ok=True)
    people = [f"P{k:02d}" for k in range(12)]
    rows = {name: [] for name in ("participants.tsv", "scans.tsv", "contours.tsv", "indices.tsv")}
    for k, person in enumerate(people):
        write_aim_bytes(folder / "scans" / f"{person}.AIM", np.full((3, 4, 5), k, np.int16))
        rows["participants.tsv"].append(f"{person}\t{60 + k}\t{20 + k / 2}\t0.7\t{30 + k}\t{k % 2}")
        rows["scans.tsv"].append(f"{person}\twrist\tleft\tscans/{person}.AIM\t\t{k % 5 + 1}")
        rows["contours.tsv"].append(f"{person}\tradius\ttotal\tscans/{person}.AIM")
        rows["indices.tsv"].append(f"{person}\tradius\t{300 + k}\t0.2\t15")
    heads = (
        "participant_id\tage\tbmi\tbmd_total_hip\tgrip\tfracture", "participant_id\tsite\tside\tfile\tunit\tmotion_grade",
        "participant_id\tbone\tcompartment\tfile", "participant_id\tbone\tTt.vBMD\tTb.Th\tTb.BV/TV %",
    )  # fmt: skip
    for (name, lines), head in zip(rows.items(), heads, strict=True):
        (folder / name).write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    words = {"grip": {"Description": "grip strength", "Role": "clinical", "Units": "kg"}, "age": {"Role": "clinical"}}
    (folder / "participants.json").write_text(json.dumps(words, indent=2), encoding="utf-8")
    (folder / "review.csv").unlink(missing_ok=True)
    for person in people[:4]:
        decide(
            folder, reviewer="AB", participant_id=person, site="wrist", decision="accept", motion_grade=2, remark="a, b"
        )


def trained(folder: Path) -> dict[str, Part]:
    """Weights and a bundle of the example run."""
    import deepqct as dq
    from deepqct.bundles.source import MANIFEST

    made = folder / "bundle"
    if not made.exists():
        shutil.copytree(dq.bundles.example_bundle().source.path, made)
    weights = next(made.rglob("*.safetensors"))
    content = (made / "bundle.json").read_bytes()
    return {
        "safetensors": Part([weights.read_bytes()], read_weights, "weights.safetensors", head=4096),
        "bundle.json": Part([content], read_bundle, "bundle.json", text=True, head=len(content)),
        "manifest.json": Part(
            [(made / MANIFEST).read_bytes()], lambda p: dq.load_bundle(p.parent), MANIFEST, text=True
        ),
    }


def place(part: Part, name: str, folder: Path) -> Path:
    """Where the mutants of a reader are written: beside what they need, in a copy of this process's own."""
    beside = {"dicom": "dicom", "bundle.json": "bundle", "manifest.json": "bundle"}.get(name)
    beside = beside or ("cohort" if part.read in (check_table, read_reviews) else None)
    own = Path(tempfile.mkdtemp(prefix="deepqct-fuzz-"))
    if beside:
        shutil.copytree(folder / beside, own / beside)
    return (own / beside if beside else own) / part.name


# One process after the other, until all mutants were read


def work(part: Part, path: Path, numbers: Iterable[int], pipe: Any, at: Any) -> None:
    """Read one mutant after the other, and tell of each what became of it."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    known = sentences()
    with contextlib.suppress(Exception):
        path.write_bytes(part.seeds[0])
        part.read(path)  # imports take memory and time of their own
    for k in numbers:
        data = mutant(part, k)
        path.write_bytes(data)
        at[0], at[1] = k, time.monotonic()
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 3 * len(data) + ROOM, resource.RLIM_INFINITY))
        said = ""
        try:
            what = "read" if part.read(path) else "nonsense"
        except MemoryError:
            what = "memory"
        except known as error:
            what = "memory" if lacked_memory(error) else "refused"
            if "\n" in str(error) and not isinstance(error, known[1]):
                what, said = "raw", f"more than one line: {error!r}"
        except Exception as error:
            what, said = "raw", f"{type(error).__name__}: {error}"[:300]
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        pipe.send((k, what, said))
    pipe.send(None)


def lacked_memory(error: BaseException | None) -> bool:
    """True if an error goes back to one of memory."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def fuzz(name: str, part: Part, *, n: int, out: Path, folder: Path) -> dict[str, Any]:
    """Read the mutants of one reader up to number `n`; what is done already is kept."""
    record = out / f"{name}.json"
    done: dict[str, Any] = (
        json.loads(record.read_text(encoding="utf-8"))
        if record.exists()
        else {"next": 0, "counts": {}, "examples": {}, "s": 0.0}
    )
    counts, began = Counter(done["counts"]), time.monotonic()
    spent = done["s"]
    begin = multiprocessing.get_context("fork")

    def keep(k: int, what: str, said: str = "") -> None:
        counts[what] += 1
        done["next"] = k + 1
        if what not in ("refused", "read"):
            done["examples"].setdefault(what, [])
            if len(done["examples"][what]) < 40:
                done["examples"][what].append([k, said])

    while done["next"] < n:
        path = place(part, name, folder)
        ours, theirs = begin.Pipe(duplex=False)
        at = begin.Array("d", [-1.0, time.monotonic()], lock=False)
        process = begin.Process(target=work, args=(part, path, range(done["next"], n), theirs, at))
        process.start()
        theirs.close()
        while True:
            if ours.poll(0.5):
                try:
                    answer = ours.recv()
                except EOFError:
                    process.join()
                    keep(int(at[0]), "crash", f"signal {-process.exitcode}")
                    break
                if answer is None:
                    break
                keep(*answer)
            elif at[0] >= done["next"] and time.monotonic() - at[1] > LIMIT_S:
                keep(int(at[0]), "hang")
                break
        process.kill()
        process.join()
        shutil.rmtree(path.parent if path.parent.name.startswith("deepqct-fuzz-") else path.parent.parent)
        done |= {"counts": dict(counts), "s": round(spent + time.monotonic() - began, 1)}
        record.write_text(json.dumps(done, indent=1), encoding="utf-8")
    return done


def main() -> None:
    """Print one row a reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", default="", help="one reader or several, with commas; all if not given")
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--again", type=int, help="write this mutant of the part to OUT, and read it")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="deepqct-fuzz-") as name:
        asked = given.part.split(",") if given.part else []
        readers = parts(Path(name), networks=not asked or any(one in TRAINED for one in asked))
        chosen = {one: readers[one] for one in asked or readers}
        if given.again is not None:
            (part,) = chosen.values()
            path = place(part, given.part, Path(name))
            path.write_bytes(mutant(part, given.again))
            shutil.copy(path, given.out / f"{given.again}-{part.name}")
            print(part.read(path))
            return
        rows = []
        for reader, part in chosen.items():
            done = fuzz(reader, part, n=given.n, out=given.out, folder=Path(name))
            rows.append([reader, done["next"], *[done["counts"].get(what, 0) for what in COUNTED], round(done["s"])])
            print(rows[-1], flush=True)
    table("Mutants of valid files, by what became of them.", ["reader", "mutants", *COUNTED, "seconds"], rows)


if __name__ == "__main__":
    main()
