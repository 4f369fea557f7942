"""The command line: init, check, plan, run, report, verify, reproduce, tidy, app, bundle, predict and others.

Exit codes: 0 done; 1 a run of which a part failed, or that is not what it was; 2 a wrong call, a faulty cohort or an
unreadable file; 130 stopped by Ctrl+C.

The docstring of a command is its help, so that examples of the commands stand here.

Examples
--------
>>> import deepqct as dq
>>> import tempfile
>>> from pathlib import Path
>>> from typer.testing import CliRunner
>>> from deepqct.cli import app
>>> cohort = dq.run.example_run().virtual / "cohort"
>>> CliRunner().invoke(app, ["check", str(cohort)]).stdout.splitlines()[-1]
'No faults.'
>>> scan = next((cohort / "scans").iterdir())
>>> call = ["inspect", str(scan), "--png", str(Path(tempfile.mkdtemp()) / "middle.png")]
>>> "0.3000 × 0.3000 × 0.3000 mm" in CliRunner().invoke(app, call).stdout
True
>>> call = ["cohort", "new", tempfile.mkdtemp(), "--n", "2", "--voxel", "0.3", "--slices", "3", "--workers", "1"]
>>> CliRunner().invoke(app, call).exit_code
0
>>> CliRunner().invoke(app, ["init", str(Path(tempfile.mkdtemp()) / "hip-study")]).exit_code
0
>>> call = ["study", "--n", "216", "--prevalence", "0.33", "--auc", "0.8", "--predictors", "20"]
>>> "602 women" in CliRunner().invoke(app, call).stdout
True
>>> error = CliRunner().invoke(app, ["run", "virtual", "bne=radius"]).exception
>>> print(error)
Unknown parameter 'bne' for any stage; did you mean 'bone'?
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from deepqct.run import commands

app = typer.Typer(
    help="From HR-pQCT scans to a fragility-fracture risk, for each bone separately.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
cohort_app = typer.Typer(help="Make cohorts.", no_args_is_help=True)
app.add_typer(cohort_app, name="cohort")
console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)
_STOPPED = 130  # the exit code after Ctrl+C, as shells know it


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="A new folder.")]) -> None:
    """Make a folder to work in: the notebooks, a README that says how to begin, places for cohort and reports."""
    from deepqct.run.init import init_folder

    made = init_folder(folder)
    console.print(f"Folder: {made}; its README.md says how to begin.", markup=False, highlight=False)


@app.command()
def run(
    cohort: Annotated[str, typer.Argument(help="The cohort folder, or 'virtual' for virtual women made on the spot.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Parameters, such as epochs=20 or bone=radius."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; reports/<preset> if not given.")] = None,
    preset: Annotated[str, typer.Option(help="smoke, quick, null, paper, or a YAML file.")] = "quick",
    cores: Annotated[
        int, typer.Option(min=1, help="Processors for all jobs together; a profile of a cluster has its own.")
    ] = 2,
    batch: Annotated[
        int, typer.Option(min=1, help="Scans that one job curates; a cohort of no more has one such job, 01 itself.")
    ] = 200,
    train_by: Annotated[
        str, typer.Option(help="What one job trains: bone, or fold; auto: fold on a cluster, bone elsewhere.")
    ] = "auto",
    pseudonyms: Annotated[
        Path | None,
        typer.Option(metavar="KEYFILE", help="Pseudonyms in place of ids; the key lies outside of the run."),
    ] = None,
) -> None:
    """Take a cohort through every notebook to a report.

    A second call does only what is out of date. Example: deepqct run data/ours epochs=20 --preset paper --out reports/ours
    """
    from deepqct.folder import project_root
    from deepqct.run.plan import plan_run
    from deepqct.run.workflow import execute

    folder = out or Path("reports") / Path(preset).stem
    if "=" in cohort and not Path(cohort).expanduser().is_dir():
        settings = [cohort, *(settings or [])]
        cohort = ""
    if pseudonyms is not None:
        settings = [*(settings or []), f"pseudonyms={os.path.relpath(pseudonyms.expanduser(), project_root())}"]
    plan = plan_run(cohort, out=folder, preset=preset, overrides=settings or [])
    if not cohort:
        raise ValueError("No cohort is given; name its folder first, or 'virtual'.")
    report = execute(plan, cores=cores, batch=batch, train_by=train_by)
    console.print(f"Report: {report}", markup=False, highlight=False)


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(help="A run, such as reports/quick.")],
    zip_to: Annotated[
        bool, typer.Option("--zip", help="Pack it with its tables, figures and notebook pages, beside the run folder.")
    ] = False,
    example: Annotated[Path | None, typer.Option(help="Write a small example report of virtual women there.")] = None,
) -> None:
    """Write a run's report anew from what lies in its folder, without running anything.

    A page that is sent alone has none of the files that it links to; --zip packs them with it. Example: deepqct report
    reports/quick --zip
    """
    from deepqct.folder import Run, resolve
    from deepqct.report import example_report, pack_report, write_report
    from deepqct.run.record import note_report

    done = Run(resolve(run_folder))
    done.require(done.record, written_by="deepqct run")
    if example is not None:
        written = example_report(done, resolve(example))
    elif zip_to:
        written = pack_report(done, done.folder.with_name(f"{done.folder.name}-report.zip"))
    else:
        written = write_report(done)
        note_report(done)
    console.print(f"Report: {written}", markup=False, highlight=False)


for command in (commands.plan, commands.verify, commands.reproduce, commands.tidy):
    app.command()(command)


@app.command()
def check(
    cohort: Annotated[Path, typer.Argument(help="The cohort folder.")],
    outcome: Annotated[str, typer.Option(help="The target column of participants.tsv, or 'time, event'.")] = "fracture",
    outside: Annotated[
        bool, typer.Option(help="Allow files outside of the folder: absolute paths, ../ and links.")
    ] = False,
) -> None:
    """Find every fault of a cohort folder before any long work."""
    from deepqct.cohort.check import check_cohort
    from deepqct.cohort.hints import spelling_advice
    from deepqct.cohort.scan_files import both_sides, check_heads
    from deepqct.cohort.scanners import protocol_table, scan_heads, scanner_and_outcome, scanner_warnings
    from deepqct.cohort.tsv import like_dates
    from deepqct.run.plan import PRESETS, ParameterError, plan_run
    from deepqct.run.preflight import check_cohort_for
    from deepqct.scans.formats import size_of
    from deepqct.terms import LEFT_OUT, ROLES, YES_NO, barred_words, columns_by_role

    checked, faults = check_cohort(cohort, outcome=outcome, outside="allow" if outside else "refuse")
    if checked is not None:
        faults = check_heads(checked)
    if checked is None or faults:
        for fault in faults:
            errors.print(f"• {fault}", markup=False, highlight=False)
        errors.print(f"{len(faults)} fault{'' if len(faults) == 1 else 's'}; nothing was run.", highlight=False)
        raise typer.Exit(2)
    table = Table(title=escape(cohort.resolve().name), show_header=False)
    people, scans = checked.participants, checked.scans
    target = checked.target
    others = f", {len(people) - target.events} without" if target.kind == YES_NO else ""
    table.add_row("patients", f"{len(people)} ({target.counted}{others})")
    if checked.without_outcome:
        table.add_row("left out, outcome not known", str(checked.without_outcome))
    if barred := barred_words(checked.dictionary):
        table.add_row("no predictors", barred)
    for site, rows in scans.groupby("site"):
        size = sum(size_of(cohort / file) for file in rows["file"])
        table.add_row(f"{site} scans", f"{len(rows)} ({size / 1e6:.0f} MB)")
    if checked.repeats is not None:
        women = checked.repeats["participant_id"].nunique()
        table.add_row("of other sessions", f"{len(checked.repeats)} more, of {women} patients, for precision")
    without = len(set(people["participant_id"]) - set(scans["participant_id"]))
    table.add_row("patients without a scan", str(without))
    table.add_row("virtual", "no" if checked.virtual is None else f"yes, scenario {checked.virtual.get('scenario')}")
    console.print(table)
    columns = {role: ", ".join(columns_by_role(checked.dictionary, role)) for role in ROLES if role != "id"}
    not_taken = columns.pop("other")
    roles = "; ".join(f"{role}: {names}" for role, names in columns.items() if names)
    console.print(f"Columns by role: {roles}.", markup=False, highlight=False)
    if not_taken:
        line = f"No model takes {not_taken}; a Role in participants.json would change that."
        console.print(line, markup=False, highlight=False)
    if left_out := ", ".join(columns_by_role(checked.dictionary, LEFT_OUT)):
        line = f"Left in the cohort folder: {left_out}; describe them in participants.json to take them along."
        console.print(line, markup=False, highlight=False)
    described = [name for name, entry in checked.dictionary.items() if entry.get("Role") != LEFT_OUT]
    for line in spelling_advice(people.columns, described=described):
        console.print(line, markup=False, highlight=False)
    if dates := like_dates(people["participant_id"]):
        console.print(dates, markup=False, highlight=False)
    heads = scan_heads(checked)
    if (differs := protocol_table(checked, heads).query("differs")).size:
        audit = Table(title="What differs between scans, by their headers (number of scans)")
        for name in ("site", "what", "values"):
            audit.add_column(name)
        for row in differs[["site", "what", "values"]].itertuples(index=False):
            audit.add_row(*row)
        console.print(audit)
    for line in [*both_sides(checked), *scanner_warnings(scanner_and_outcome(checked, heads), outcome=outcome)]:
        console.print(line, markup=False, highlight=False)
    for preset in PRESETS:
        plan = plan_run(str(cohort), out=cohort / "run", preset=preset, overrides=[f"outcome={outcome}"])
        try:
            check_cohort_for(plan.parameters, checked)
        except ParameterError as error:
            console.print(f"Preset {preset} cannot be run: {error}", markup=False, highlight=False)
    console.print("No faults.")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A scan: AIM, ISQ, a folder of DICOM slices, NIfTI, MHA or NRRD.")],
    unit: Annotated[str | None, typer.Option(help="density, for a file without a calibration of its own.")] = None,
    unusual: Annotated[bool, typer.Option(help="Allow voxels and calibrations that no HR-pQCT scanner has.")] = False,
    png: Annotated[
        Path | None, typer.Option(help="Where the middle slice goes; deepqct-slice.png if not given.")
    ] = None,
) -> None:
    """Show a scan without a word about the patient: size, voxel, calibration, densities, and its middle slice."""
    import numpy as np

    from deepqct import plots
    from deepqct.scans.scan import read_scan

    scan = read_scan(file, unit=unit, unusual=unusual)
    density = scan.density
    table = Table(title="Scan", show_header=False)
    table.add_row("voxels (z, y, x)", " × ".join(str(n) for n in density.shape))
    table.add_row("voxel (z, y, x)", " × ".join(f"{v:.4f}" for v in scan.voxel_mm) + " mm")
    table.add_row("site, side", f"{scan.site or 'not stated'}, {scan.side or 'not stated'}")
    table.add_row("calibration", f"density = {scan.slope:.6g} × native {scan.intercept:+.6g} mgHA/cm³")
    low, middle, high = np.percentile(density, [1, 50, 99])
    table.add_row("density", f"mean {density.mean(dtype=float):.1f}, SD {density.std(dtype=float):.1f} mgHA/cm³")
    table.add_row("1 %, 50 %, 99 %", f"{low:.0f}, {middle:.0f}, {high:.0f} mgHA/cm³")
    console.print(table)
    counts, edges = np.histogram(density, bins=16)
    bars = Table(title="Density histogram", show_header=True)
    bars.add_column("mgHA/cm³", justify="right")
    bars.add_column("share", justify="right")
    bars.add_column("")
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        bars.add_row(
            f"{left:.0f} to {right:.0f}", f"{100 * count / density.size:.1f} %", "█" * round(40 * count / counts.max())
        )
    console.print(bars)
    target = png or Path("deepqct-slice.png")
    if target.exists() and (target.samefile(file) or (file.is_dir() and target.resolve().parent == file.resolve())):
        raise ValueError(f"{target} belongs to the scan itself, which is not overwritten; name another file by --png.")
    try:
        plots.save_slice(density, target, voxel_mm=scan.voxel_mm)
    except OSError as error:
        raise OSError(f"{str(error).rstrip('.')}, by --png.") from error
    console.print(f"Middle slice: {target}", markup=False, highlight=False)


@app.command("app")
def pages(
    run_folder: Annotated[Path, typer.Argument(help="A finished run, such as reports/quick.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="The first port that is tried.")] = 8866,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Serve explorer and review of a run as pages without code, on this machine alone; Ctrl+C stops it."""
    from deepqct.folder import Run, resolve
    from deepqct.run.app import serve

    raise typer.Exit(serve(Run(resolve(run_folder)), port=port, browser=browser))


@cohort_app.command("new")
def cohort_new(
    out: Annotated[Path, typer.Argument(help="Receives cohort/, as a hospital would have it, and truth/.")],
    scenario: Annotated[str, typer.Option(help="null, literature or deepqct-like.")] = "literature",
    n: Annotated[int, typer.Option(min=2, help="Number of women.")] = 60,
    voxel: Annotated[float, typer.Option(help="Voxel edge in mm; 0.0607 is XtremeCT II's.")] = 0.12,
    slices: Annotated[int, typer.Option(min=3, help="Slices a scan.")] = 24,
    prevalence: Annotated[float, typer.Option(help="Share of women with a fragility fracture.")] = 0.33,
    phenotype_separation: Annotated[
        float | None, typer.Option(help="SDs between two phenotypes; 0 for none. The scenario's own if not given.")
    ] = None,
    hidden_share: Annotated[float, typer.Option(help="Share of the risk that no standard index sees.")] = 0.25,
    risk_form: Annotated[str, typer.Option(help="How the risk depends on structure: linear or weakest.")] = "linear",
    motion: Annotated[bool, typer.Option(help="Motion grades 1 to 5 as in life, or all still.")] = True,
    file_format: Annotated[str, typer.Option("--format", help="aim, isq or dicom.")] = "aim",
    sessions: Annotated[int, typer.Option(min=1, help="How often each woman is scanned.")] = 1,
    scanners: Annotated[str, typer.Option(help="Of each session in turn: xt2, xt1 (the first XtremeCT).")] = "xt2",
    centres: Annotated[int, typer.Option(min=1, help="Centres, each with a density scale of its own.")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 7,
    workers: Annotated[int, typer.Option(min=1, help="Scans made side by side.")] = 2,
) -> None:
    """Make a cohort of virtual women."""
    from deepqct.virtual.cohort import new_cohort
    from deepqct.virtual.twins import what_sessions_tell

    turns = [name.strip() for name in scanners.split(",")]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("scans", total=2 * n * sessions)
        new_cohort(
            out, scenario=scenario, n=n, voxel_mm=voxel, slices=slices, prevalence=prevalence, hidden_share=hidden_share,
            risk_form=risk_form, phenotype_separation=phenotype_separation, motion=motion, file_format=file_format,
            sessions=sessions, scanners=turns, centres=centres, seed=seed,
            workers=workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    console.print(f"Cohort: {out / 'cohort'}", markup=False, highlight=False)
    if told := what_sessions_tell(sessions, scanners=turns, centres=centres):
        console.print(told, markup=False, highlight=False)


@app.command()
def pretrain(
    out: Annotated[Path, typer.Argument(help="Receives weights.safetensors, pretraining.json and card.md.")],
    scans: Annotated[
        Path | None, typer.Option(help="A curated run whose stacks are learned from; virtual bones if not given.")
    ] = None,
    arch: Annotated[str, typer.Option(help="A torchvision or timm backbone.")] = "resnet34",
    weights: Annotated[str, typer.Option(help="What it begins with: none, imagenet, or a .safetensors file.")] = "none",
    samples: Annotated[int, typer.Option(help="Images that are learned from.")] = 200_000,
    batch_size: Annotated[int, typer.Option(help="Images in one step.")] = 64,
    lr: Annotated[float, typer.Option(help="The highest learning rate.")] = 1e-3,
    pixels: Annotated[int, typer.Option(help="Edge of an image.")] = 64,
    background: Annotated[str, typer.Option(help="remove or keep, as the networks will see it.")] = "remove",
    seed: Annotated[int, typer.Option(help="The same seed gives the same weights on a processor.")] = 7,
    device: Annotated[str, typer.Option(help="cuda, mps, cpu, or auto.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw and measure bones.")] = 2,
    judged: Annotated[int, typer.Option(min=1, help="Held-out pieces on which the readings are judged.")] = 64,
) -> None:
    """Let a network learn to read the structure of bone, without any outcome; weights=OUT/weights.safetensors takes it on.

    What was interrupted goes on where it was.
    """
    from deepqct.folder import Run, resolve
    from deepqct.networks import Pretraining, use_device
    from deepqct.networks import pretrain as learn

    settings = Pretraining(
        arch=arch, weights=weights, samples=samples, batch_size=batch_size, lr=lr, pixels=pixels, background=background,
        seed=seed,
    )  # fmt: skip
    use_device(device)
    run = None if scans is None else Run(resolve(scans))
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("steps", total=settings.steps)
            made = learn(out, settings=settings, run=run, workers=workers, judged=judged,
                         progress=lambda done, total: bar.update(task, completed=done, total=total))  # fmt: skip
    else:
        made = learn(out, settings=settings, run=run, workers=workers, judged=judged)
    console.print(f"Weights: {made}", markup=False, highlight=False)


@app.command("bundle")
def make_bundle(
    run_folder: Annotated[Path, typer.Argument(help="A finished run, such as reports/quick.")],
    out: Annotated[Path, typer.Option(help="A new folder, or a file whose name ends in .zip.")],
    protocol: Annotated[str, typer.Option(help="As in splits.csv; the first if not given.")] = "",
    fingerprints: Annotated[
        bool, typer.Option(help="Keep beginnings of the hashes of the training scans, to know their women again.")
    ] = False,
) -> None:
    """Make a bundle of a run, from which new women are predicted anywhere: weights, plain numbers, a model card.

    No row of a patient is in it. Example: deepqct bundle reports/ours --out ours.zip
    """
    from deepqct.bundles import bundle
    from deepqct.folder import Run, resolve

    made = bundle(Run(resolve(run_folder)), out, protocol=protocol, fingerprints=fingerprints)
    console.print(f"Bundle: {made}", markup=False, highlight=False)


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="A folder or zip that deepqct bundle made.")],
    scans: Annotated[
        list[Path],
        typer.Argument(help="Scans named like P0042_wrist_left.AIM, a scans.tsv, or a folder that holds one."),
    ],
    out: Annotated[Path, typer.Option(help="Receives predictions.csv and a sheet for each woman.")],
    participants: Annotated[
        Path | None, typer.Option(help="Age, clinical factors and bone densities, as participants.tsv.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Scans curated side by side.")] = 1,
) -> None:
    """Predict new women from their scans, or say why not. Research, not a medical device.

    Example: deepqct predict ours.zip scans/P0042_wrist_left.AIM scans/P0042_ankle_left.AIM --out reports/new
    """
    from deepqct import bundles

    opened = bundles.load_bundle(bundle)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("scans", total=None)
        found = bundles.predict(
            opened, scans, participants=participants, workers=workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    folder = bundles.write_predictions(found, out)
    without = [woman for woman in found.women if woman.reasons]
    if opened.content.made.virtual:
        console.print("VIRTUAL: the networks learned from virtual women.", markup=False, highlight=False)
    console.print(f"{len(found.women) - len(without)} of {len(found.women)} women have a risk.", highlight=False)
    for woman in without:
        console.print(f"{woman.participant_id}: {woman.reasons[0]}", markup=False, highlight=False)
    console.print(f"Predictions: {folder}", markup=False, highlight=False)


@app.command()
def study(
    n: Annotated[int, typer.Option(help="Women in the study.")],
    prevalence: Annotated[float, typer.Option(help="Expected share of women with the outcome, such as 0.33.")],
    auc: Annotated[float, typer.Option(help="Expected AUC in women whom the model has not seen.")],
    predictors: Annotated[int, typer.Option(help="Candidate predictors of a new model, all that are tried.")] = 20,
    gain: Annotated[float, typer.Option(help="By how much another score's AUC is expected to be lower.")] = 0.05,
    correlation: Annotated[float, typer.Option(help="Of the two scores among women of the same outcome.")] = 0.6,
    margins: Annotated[str, typer.Option(help="Margins of non-inferiority.")] = "0.03, 0.05",
    networks: Annotated[int, typer.Option(help="How many of the two scores come from networks: 0, 1 or 2.")] = 0,
    trainings: Annotated[int, typer.Option(help="How often networks are trained.")] = 3,
    threshold: Annotated[
        float | None, typer.Option(help="Risk from which one would treat; the prevalence if not given.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Where the figures are written as a table.")] = None,
) -> None:
    """Say what a planned study can and cannot show: widths of intervals, power, how many women models need.

    Example: deepqct study --n 216 --prevalence 0.33 --auc 0.8 --predictors 20
    """
    from deepqct.evaluation import Study, study_answers, study_words
    from deepqct.folder import write_table
    from deepqct.run_tables import margins_of

    planned = Study(
        n=n, prevalence=prevalence, auc=auc, predictors=predictors, gain=gain, correlation=correlation,
        margins=margins_of(margins), networks=networks, trainings=trainings,
    )  # fmt: skip
    answers = study_answers(planned, threshold=threshold)
    table = Table(title=f"{n:,} women, {planned.events:,} with the outcome, expected AUC {auc:g}", title_justify="left")
    for head in ("", "", "expected", "enough"):
        table.add_column(head)
    for part, rows in answers.groupby("part", sort=False):
        for place, row in enumerate(rows.itertuples()):
            verdict = {"True": "yes", "False": "no"}.get(str(row.enough), "")
            table.add_row("" if place else str(part), str(row.question), str(row.answer), verdict)
        table.add_section()
    console.print(table)
    for head, lines in study_words(planned).items():
        if lines:
            console.print(f"Such a study {head}:", markup=False, highlight=False)
            for line in lines:
                console.print(f"• {line}", markup=False, highlight=False)
    if csv is not None:
        written = write_table(csv, answers)
        console.print(f"Figures: {written}", markup=False, highlight=False)


@app.command(hidden=True)
def job(run_folder: Path, stage: str, bone: Annotated[str, typer.Argument()] = "") -> None:
    """Execute one job of a run; the workflow calls this."""
    from deepqct.folder import Job, Run
    from deepqct.run.jobs import run_job

    if not run_job(Run(run_folder), Job(stage, bone)):
        raise typer.Exit(1)


@app.command(hidden=True)
def part(run_folder: Path, what: str, stage: str, bone: Annotated[str, typer.Argument()] = "") -> None:
    """Do one part of a job of a run; the workflow calls this."""
    from deepqct.folder import Job, Run
    from deepqct.run.parts import Part, run_part

    if not run_part(Run(run_folder), Part(Job(stage, bone), what)):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line on the arguments of this process; a known error is one sentence, not a traceback.

    Examples
    --------
    >>> import sys
    >>> from unittest.mock import patch
    >>> from deepqct.cli import main
    >>> with patch.object(sys, "argv", ["deepqct", "inspect", "no such scan.AIM"]):
    ...     try:
    ...         main()
    ...     except SystemExit as ended:
    ...         print("exit code", ended.code)
    exit code 2
    """
    from deepqct.work import keep_elsewhere

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × or → gets a question mark, not a crash
    try:
        keep_elsewhere()
        app()
    except (KeyboardInterrupt, SystemExit) as ended:
        if isinstance(ended, SystemExit) and ended.code != _STOPPED:
            raise
        if sys.argv[1:2] not in (["job"], ["part"]):  # the run that a job belongs to says it
            errors.print("Stopped; the same command goes on from where it was.", markup=False, highlight=False)
        sys.exit(_STOPPED)
    except (ValueError, OSError) as error:
        errors.print(f"Error: {error}", style="red", markup=False, highlight=False)
        sys.exit(2)
    except RuntimeError as error:
        errors.print(f"Error: {error}", style="red", markup=False, highlight=False)
        sys.exit(1)
