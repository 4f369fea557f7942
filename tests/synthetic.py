"""A finished run made of random numbers, 60 women and 20 events: it shows figures and the report, and proves nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

from deepqct import plots
from deepqct.folder import Job, Run, project_root, write_json, write_table
from deepqct.models.comparison import curves, planned, reclassified, summarise
from deepqct.models.families import Model, models_for, models_table
from deepqct.terms import BONES, UNITS

WOMEN = 60
# A grey pixel.
_PNG = (
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)
# In the order of UNITS: densities, areas, perimeter, cortex, trabeculae.
_MEANS = {
    "radius": (310, 160, 860, 210, 125, 270, 52, 215, 66, 0.95, 0.009, 0.16, 0.21, 1.25, 0.22, 0.78, 0.30),
    "ulna": (290, 150, 840, 200, 120, 130, 34, 92, 44, 0.85, 0.010, 0.16, 0.20, 1.20, 0.22, 0.80, 0.32),
    "tibia": (290, 170, 850, 220, 135, 690, 112, 570, 105, 1.2, 0.040, 0.20, 0.24, 1.20, 0.25, 0.82, 0.33),
    "fibula": (330, 140, 870, 190, 110, 140, 45, 92, 45, 1.1, 0.020, 0.18, 0.19, 1.00, 0.24, 0.95, 0.40),
}


def outcome() -> pd.Series:
    """0 or 1 by participant_id; every third woman has the event."""
    people = pd.Index([f"sub-{i:04d}" for i in range(1, WOMEN + 1)], name="participant_id")
    return pd.Series((np.arange(WOMEN) % 3 == 0).astype(int), index=people, name="fracture")


def indices() -> pd.DataFrame:
    """One row a bone, lower by half an SD with the event."""
    rng = np.random.default_rng(1)
    rows = []
    for person, event in outcome().items():
        common = rng.normal() - 0.5 * event
        for bone in BONES:
            noise = 0.12 * (0.8 * common + 0.6 * rng.normal(size=len(UNITS)))
            values = np.array(_MEANS[bone]) * (1 + noise)
            rows.append({"participant_id": person, "bone": bone, **dict(zip(UNITS, values, strict=True))})
    return pd.DataFrame(rows)


def predictions() -> pd.DataFrame:
    """Three families, two protocols; the test set of ``as-published`` has 6 women."""
    rng = np.random.default_rng(2)
    pairs = ["wrist, non-weight-bearing (radius + ulna)", "ankle, weight-bearing (tibia + fibula)"]
    bones = [*BONES, *pairs, "all four bones", "all four bones + clinical"]
    networks = [*bones, *(f"mean of {name}" for name in (*pairs, "all four bones"))]
    models = {"BMD": ["lumbar spine", "femoral neck", "all sites + clinical"], "pQCT-index": bones, "DeepQCT": networks}
    labels = outcome()
    parts = []
    for protocol in ("all", "as-published"):
        fold = pd.Series((np.arange(WOMEN) % 3).astype(str), index=labels.index)
        if protocol == "as-published":
            fold.iloc[-6:] = "test"
        for family, names in models.items():
            for number, name in enumerate(names):
                score = rng.normal(size=WOMEN) + labels.to_numpy() * (0.4 + 0.08 * number)
                parts.append(
                    pd.DataFrame(
                        {
                            "protocol": protocol,
                            "repeat": 0,
                            "participant_id": labels.index,
                            "fold": fold.to_numpy(),
                            "split": np.where(fold == "test", "test", "out-of-fold"),
                            "family": family,
                            "model": name,
                            "outcome": labels.to_numpy(),
                            "score": score,
                            "risk": 1 / (1 + np.exp(-score)),
                            "threshold": 0.2,
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


def models() -> pd.DataFrame:
    """models.csv of these predictions, and of the one with indices beside the images."""
    clinical, sites = ("age",), ("bmd_lumbar_spine", "bmd_femoral_neck")
    columns = [f"{bone} {symbol}" for bone in BONES for symbol in UNITS]
    roles = {"age": {"Role": "clinical"}}
    over_bones = models_for(roles, indices=pd.DataFrame(columns=columns), bones=list(BONES))
    return models_table(
        [
            Model("BMD", "lumbar spine", sites[:1]),
            Model("BMD", "femoral neck", sites[1:], headline=True),
            Model("BMD", "all sites + clinical", (*sites, *clinical), own=False),
            *(model for model in over_bones if model.bones),
        ]
    )


def performance(table: pd.DataFrame) -> pd.DataFrame:
    """performance.csv of these predictions."""
    return summarise(table, models=models())


def optimism() -> pd.DataFrame:
    """optimism.csv as it would be."""
    rows = [
        ("best of 19 models", "DeepQCT", "all four bones", 0.81, 0.58, 0.65, 0.0005, 60, 20),
        ("permuted outcomes, 100 times", "DeepQCT", "all four bones", 0.81, 0.49, 0.62, 0.0099, 60, 20),
        (".632+ of 50 bootstraps", "BMD", "all sites", 0.71, 0.66, np.nan, np.nan, 60, 20),
    ]
    return pd.DataFrame(rows, columns=["what", "family", "model", "observed", "expected", "upper", "p", "n", "events"])


def bone_stack(*, radius: float = 30, size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A round bone with a bright shell: density (z, y, x) in mgHA/cm³ and its mask."""
    rng = np.random.default_rng(int(radius))
    y, x = np.mgrid[:size, :size] - size / 2
    far = np.hypot(y / 1.15, x)
    mask = np.where(far < radius - 5, 1, np.where(far < radius, 2, 0)).astype(np.uint8)
    base = np.select([mask == 2, mask == 1], [950.0, 180.0], 40.0)
    density = base + rng.normal(scale=120, size=(5, size, size))
    return density.astype(np.int16), np.repeat(mask[None], 5, axis=0)


def history(*, protocols: tuple[str, ...] = ("all",), epochs: int = 6) -> pd.DataFrame:
    """Losses that fall, and a validation loss that turns."""
    rng = np.random.default_rng(3)
    rows = [
        {
            "protocol": protocol,
            "repeat": 0,
            "fold": str(fold),
            "epoch": epoch,
            "train_loss": 0.72 * np.exp(-0.12 * epoch) + rng.normal(scale=0.02),
            "valid_loss": 0.7 - 0.03 * epoch + 0.004 * epoch**2 + rng.normal(scale=0.02),
        }
        for protocol in protocols
        for fold in range(3)
        for epoch in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows)


def embedding() -> pd.DataFrame:
    """Two clouds; one woman without a group."""
    rng = np.random.default_rng(4)
    group = pd.Series(1 + (np.arange(WOMEN) % 5 > 2), dtype="Int64")
    group.iloc[7] = pd.NA
    centre = group.fillna(1).to_numpy(float)
    return pd.DataFrame(
        {
            "participant_id": outcome().index,
            "group": group,
            "umap_1": rng.normal(size=WOMEN) + 3 * centre,
            "umap_2": rng.normal(size=WOMEN) - centre,
            "risk": rng.uniform(size=WOMEN),
        }
    )


def numbers_of_groups() -> pd.DataFrame:
    """What speaks for one to three groups."""
    table = {"silhouette": [np.nan, 0.31, 0.22], "gap": [0.2, 0.5, 0.4], "gap_se": 0.05, "bic": [900.0, 850.0, 870.0]}
    return pd.DataFrame(table, index=pd.Index([1, 2, 3], name="groups"))


def z_means() -> pd.DataFrame:
    """One row a group, one column a bone and index."""
    table = indices().pivot(index="participant_id", columns="bone", values=list(UNITS))
    table.columns = [f"{bone} {symbol}" for symbol, bone in table.columns]
    z = (table - table.mean()) / table.std()
    ordered = [f"{bone} {symbol}" for bone in BONES for symbol in UNITS]
    return z.groupby(np.where(z["tibia Tt.vBMD"] > 0, 1, 2)).mean()[ordered].rename_axis("group")


def gallery() -> dict[str, tuple[str, str, str, Callable[[], object]]]:
    """A few figures that are quickly drawn: (job, title, caption, what draws it) by name."""
    train, groups = "02_train_bone_radius", "04_clustering"
    scores = predictions().query("family == 'DeepQCT' and model == 'radius' and protocol == 'all'")
    density, mask = bone_stack()
    voxel = (0.12, 0.375, 0.375)
    return {
        "bones": (
            "01_data_curation", "Compartments of a radius", "Look for gaps in the shell.",
            partial(plots.compartments, density, mask, voxel_mm=voxel),
        ),
        "scores": (
            train, "Scores of the radius", "One dot a woman.", partial(plots.score_distribution, scores, bone="radius"),
        ),
        "umap_groups": (
            groups, "UMAP of the indices", "One dot a woman; the axes have no unit.",
            partial(plots.embedding, embedding(), colour="group", label="group"),
        ),
        "heatmap": (groups, "Mean indices", "Blue below, red above.", partial(plots.group_heatmap, z_means())),
    }  # fmt: skip


def finished_run(folder: Path, *, virtual: bool = True, figures: Sequence[str] = ("scores", "umap_groups")) -> Run:
    """A finished run folder with tables, some figures, and no notebooks."""
    run = Run(folder)
    table, known = predictions(), gallery()
    for order, name in enumerate(figures):
        job, title, caption, draw = known[name]
        plots.save(draw(), run.figures(job), name=name, title=title, caption=caption, order=order, virtual=virtual)
    write_json(run.settings, {"cohort": "women", "preset": "quick", "outcome": "fracture", "bones": list(BONES)})
    write_json(run.dictionary, _dictionary(virtual=virtual))
    write_table(run.participants, outcome().reset_index())
    write_table(run.table_one, _table_one())
    write_table(run.indices, indices())
    write_table(run.curation, curation())
    write_table(run.predictions, table)
    write_table(run.performance, performance(table))
    write_table(run.models_table, models())
    write_table(run.comparisons, planned(table, models=models()))
    write_table(run.curves, curves(table, models=models()))
    write_table(run.reclassification, reclassified(table, models=models()))
    write_table(run.optimism, optimism())
    write_json(run.record, _record(virtual=virtual))
    return run


def explored_run(folder: Path, *, virtual: bool = True) -> Run:
    """A run folder with no more than the explorer reads."""
    run = Run(folder)
    write_json(run.dictionary, _dictionary(virtual=virtual))
    write_table(run.participants, outcome().reset_index())
    write_table(run.indices, indices())
    write_table(run.predictions, predictions())
    write_table(run.models_table, models())
    write_table(run.phenotypes, embedding())
    write_table(run.curation, curation())
    return run


def keep_bone(run: Run, participant_id: str, bone: str) -> None:
    """One woman's bone stack in a run, as the curation leaves it."""
    density, mask = bone_stack()
    run.bones.mkdir(parents=True, exist_ok=True)
    np.save(run.stack(participant_id, bone), density)
    np.save(run.stack_mask(participant_id, bone), mask)
    write_json(run.stack_record(participant_id, bone), {"voxel_mm": [0.5, 0.375, 0.375]})


def notebook() -> nbformat.NotebookNode:
    """An executed notebook with all that could ask the network or name a folder, and a failed last cell."""
    png = base64.b64encode(bytes.fromhex(_PNG)).decode()
    place = str(project_root() / "deepqct" / "learner.py")
    outputs = [
        nbformat.v4.new_output("stream", text=f"{place}:7: a warning\n/mnt/hospital/scans/a.AIM is odd\n"),
        nbformat.v4.new_output("display_data", {"image/png": png}, metadata={"image/png": {"alt": "A bone."}}),
        nbformat.v4.new_output("display_data", {"application/javascript": "fetch('https://example.org')"}),
        nbformat.v4.new_output(
            "display_data",
            {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "the static twin"},
        ),
    ]
    failure = nbformat.v4.new_output(
        "error",
        ename="ValueError",
        evalue="No scan.",
        traceback=[f"File \x1b[32m{place}:7\x1b[0m", "ValueError: No scan."],
    )
    cells = [
        nbformat.v4.new_markdown_cell("# Curate\n\nLength $x$ in mm."),
        nbformat.v4.new_code_cell("run()", execution_count=1, outputs=outputs),
        nbformat.v4.new_code_cell("fail()", execution_count=2, outputs=[failure]),
    ]
    state = {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2, "version_minor": 0}}
    return nbformat.v4.new_notebook(cells=cells, metadata={"widgets": state})


def _dictionary(*, virtual: bool) -> dict:
    dictionary: dict = {"participant_id": {"Role": "id"}, "fracture": {"Role": "outcome", "Description": "fracture"}}
    return dictionary | ({"virtual": {"scenario": "literature", "attainable_auc": {"all": 0.75}}} if virtual else {})


def _table_one() -> pd.DataFrame:
    rows = [
        ("n", "60", "40", "20", ""),
        ("age, years", "71.2 (8.1)", "69.8 (7.9)", "74.0 (7.8)", "0"),
        ("smoking, n (%)", "7 (12 %)", "4 (10 %)", "3 (15 %)", "2"),
        ("femoral neck BMD, g/cm²", "0.68 (0.11)", "0.70 (0.11)", "0.64 (0.10)", "3"),
    ]
    return pd.DataFrame(rows, columns=["variable", "all", "no fracture", "fracture", "missing"])


def curation() -> pd.DataFrame:
    """curation.csv: one scan failed, one carries a flag."""
    sites = [(person, site) for person in outcome().index for site in ("ankle", "wrist")]
    table = pd.DataFrame(sites, columns=["participant_id", "site"])
    table = table.assign(
        side="left", status="curated", reason="", flags="", notes="", motion_score=20.0, sha256="ab" * 32
    )
    table.loc[3, ["status", "reason", "sha256"]] = ["failed", "sub-0002_wrist.AIM ends after 12 of 24 slices.", ""]
    table.loc[8, "flags"] = "tibia: wider than its field of 48 mm"
    return table


def _record(*, virtual: bool) -> dict:
    jobs = [Job("00_virtual_cohort")] if virtual else []
    jobs += [Job("01_data_curation"), *(Job("02_train_bone", bone) for bone in BONES)]
    jobs += [Job("03_fusion_and_baselines"), Job("04_clustering")]
    known = {"status": "done", "seconds": 12.5, "error": None, "parameters": {"run_dir": "reports/x", "seed": 7}}
    stages = {str(job): {"stage": job.stage, "bone": job.bone, **known} for job in jobs}
    return {
        "deepqct": "0.1.0",
        "preset": "quick",
        "cohort": "women",
        "virtual": virtual,
        "scenario": "literature" if virtual else None,
        "started": "2026-01-05T10:00:00+00:00",
        "finished": "2026-01-05T10:12:30+00:00",
        "seconds": 750.0,
        "seed": 7,
        "device": "cpu",
        "versions": {"deepqct": "0.1.0", "Python": "3.11.9", "torch": "2.14.1"},
        "stages": stages,
        "inputs": {"participants.tsv": "cd" * 32, "scans.tsv": "ef" * 32},
    }
