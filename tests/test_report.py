"""The report and the notebooks' pages: true, complete about what is missing, and silent towards the network."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import synthetic
from conftest import ROOT
from PIL import Image

from deepqct import plots
from deepqct.evaluation import precision
from deepqct.folder import Job, Run, read_json, read_table, write_json, write_table
from deepqct.report import figures, findings, notebook_page, summary, tables, tripod, write_report
from deepqct.report.report import _bone_aucs


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    """One finished run for the tests that only read."""
    run = synthetic.finished_run(tmp_path_factory.mktemp("finished") / "run")
    nbformat.write(synthetic.notebook(), (run.folder / "nb.ipynb"))
    notebook_page(run.folder / "nb.ipynb", run.page("01_data_curation"), virtual="literature")
    write_report(run)
    return run


@pytest.fixture
def bare(tmp_path) -> Run:
    """A run of which nothing but the record was written."""
    run = Run(tmp_path / "run")
    failed = {"status": "failed", "seconds": 1.0, "error": "CohortError: No scans.", "parameters": {}}
    not_run = {"status": "not run", "seconds": None, "error": None, "parameters": {}}
    stages = {
        name: {"stage": name, "bone": "", **state}
        for name, state in (("01_data_curation", failed), ("04_clustering", not_run))
    }
    write_json(run.record, {"deepqct": "0.1.0", "stages": stages})
    return run


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] not in ("style", "script"):
            self.text += data

    def handle_endtag(self, tag):
        if tag in ("style", "script"):
            self.tags.append((f"after {tag}", {}))


def pages(run: Run) -> list[Path]:
    """The report and the notebook's page."""
    return [run.report, run.page("01_data_curation")]


def test_nothing_is_loaded_from_anywhere(finished):
    """A page that asks a server tells it who reads which report, and is broken behind a firewall."""
    for path in pages(finished):
        for tag, attributes in Page(path).tags:
            assert tag not in ("iframe", "object", "embed", "video", "audio"), (path.name, tag)
            assert attributes.get("src", "data:").startswith("data:"), (path.name, attributes)
            if tag == "link":
                assert attributes["href"].startswith("data:"), (path.name, attributes)
        text = path.read_text(encoding="utf-8")
        scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
        assert len(scripts) == text.count("<script") == (path == finished.report)
        for script in scripts:  # the one that the page's policy names by its content
            assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in text.partition("<title>")[0]
            assert not re.search(r"fetch|XMLHttpRequest|import|http|WebSocket|sendBeacon", script)
        assert "@import" not in text
        assert "url(http" not in text
        assert "default-src 'none'" in text


def test_links_lead_to_files_that_are_there(finished):
    """The folder is copied as a whole; a link out of it, or to nothing, breaks on the next machine."""
    for path in pages(finished):
        tags = Page(path).tags
        anchors = {attributes.get("id") for _, attributes in tags}
        links = [attributes["href"] for tag, attributes in tags if tag == "a" and "href" in attributes]
        assert links
        for link in links:
            if link.startswith("#"):
                assert link[1:] in anchors, link
            elif link != "https://doi.org/10.1101/2024.04.01.24305147":
                assert (path.parent / link).exists(), link


def test_no_path_of_the_machine_gets_out(finished):
    """A path can name a person, a hospital, a patient."""
    for path in pages(finished):
        text = path.read_text(encoding="utf-8")
        for place in (str(ROOT), str(finished.folder), str(Path.home()) + "/", "/mnt/hospital"):
            assert place not in text, (path.name, place)
    page = Page(finished.page("01_data_curation"))
    assert "deepqct/learner.py:7: a warning" in page.text
    assert "…/a.AIM is odd" in page.text


def test_the_banner_is_there_for_virtual_women_only(finished, tmp_path):
    """A banner that is always there, or never, says nothing."""
    for path in pages(finished):
        assert "Virtual cohort (scenario literature" in Page(path).text
        assert "no patient is behind any number on this page" in Page(path).text
    real = synthetic.finished_run(tmp_path / "run", virtual=False, figures=())
    notebook_page(finished.folder / "nb.ipynb", real.page("01_data_curation"), virtual=None)
    write_report(real)
    for path in pages(real):
        assert "irtual" not in Page(path).text
    assert "attainable" not in Page(real.report).text
    for path, marked in ((finished.report, True), (real.report, False)):  # each sheet of paper, each copied table
        text = path.read_text(encoding="utf-8")
        assert ('@bottom-left { content: "Virtual cohort' in text) is marked
        assert ('data-mark="Virtual cohort' in text) is marked
    share = "share it as you would the scans"
    assert share in Page(real.report).text
    assert share not in Page(finished.report).text


def test_the_result_is_the_tables(finished):
    """The first sentence that everybody reads must be the row of the table, with interval, n and events."""
    text = Page(finished.report).text
    table = read_table(finished.performance)
    row = table.query("protocol == 'all' and family == 'DeepQCT' and model == 'mean of all four bones'").iloc[0]
    assert (
        "In 60 virtual women (20 with fracture; protocol “all”), the DeepQCT score (mean of all four bones) reached an "
        f"out-of-fold AUC of {row['estimate']:.2f} (95 % {row['low']:.2f}–{row['high']:.2f}); a reader who knew the drawn "
        "risks would reach 0.75 on average over such cohorts." in text
    )
    assert "The 6-woman test set of “as-published” (2 events) is too small: its AUC is not estimable." in text
    assert text.count("not estimable") == 1 + 22


def test_an_auc_below_chance_is_explained_and_chance_is_not():
    """0.33 (0.26–0.41) reads as a finding turned round to everybody who does not know cross-validation."""
    columns = ["protocol", "split", "family", "model", "measure", "estimate", "low", "high", "n", "events"]
    place = ("all", "out-of-fold")
    rows = [
        (*place, "Clinical", "clinical factors", "AUC", 0.33, 0.26, 0.41, 60, 20),
        (*place, "BMD", "total hip", "AUC", 0.48, 0.35, 0.61, 60, 20),
        ("as-published", "out-of-fold", "BMD", "total hip", "AUC", 0.2, 0.1, 0.3, 54, 18),
        (*place, "BMD", "total hip", "slope", -1.0, -2.0, -0.5, 60, 20),
    ]
    table = pd.DataFrame(rows, columns=columns)
    (said,) = findings.cautions(pd.DataFrame(), table, pd.DataFrame(), models=synthetic.models())
    assert "1 of 2, the lowest Clinical, clinical factors: 0.33 (95 % 0.26–0.41; n 60, 20 events)." in said
    assert findings.cautions(pd.DataFrame(), table.iloc[1:], pd.DataFrame(), models=synthetic.models()) == []


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.57, 0.96, "which fits anything from weak to excellent."), (0.82, 0.88, "gave 0.85 (95 % 0.82–0.88).")],
)
def test_a_wide_interval_is_put_into_words(finished, tmp_path, low, high, said):
    """0.85 from 21 women is read as excellent by everybody who is not told otherwise."""
    run = Run(tmp_path)
    for path in (finished.record, finished.settings, finished.participants, finished.models_table):
        (run.folder / path.name).write_bytes(path.read_bytes())
    table = read_table(finished.performance)
    table.loc[table["split"] == "test", ["estimate", "low", "high", "n", "events"]] = [0.85, low, high, 21, 7]
    write_table(run.performance, table)
    assert said in Page(write_report(run)).text


def test_how_the_scans_were_made_is_folded_and_a_scanner_that_goes_with_the_outcome_is_said(tmp_path):
    """The table behind a click, after the first screen; the warning in the open, since a network can read a scanner."""
    run = synthetic.finished_run(tmp_path / "run")
    page = write_report(run).read_text(encoding="utf-8")
    assert "How the scans were made" not in page
    settings = pd.DataFrame(
        {"site": "wrist", "what": ["slices", "energy, kV"], "values": ["168 (60)", "68 (40), 60 (20)"]}
    )
    write_table(run.protocol, settings.assign(differs=[False, True]))
    found = {"by": "centre", "groups": "centre 1: 40, 30 events; centre 2: 20, 2 events", "v": 0.5, "p": 0.001,
             "estimate": 0.8, "low": 0.7, "high": 0.9, "chance": 0.56, "n": 60, "events": 32, "warn": True}  # fmt: skip
    write_table(run.scanners, pd.DataFrame([found]))
    page = write_report(run).read_text(encoding="utf-8")
    first, _, rest = page.partition('id="cohort"')
    assert (
        "How the scans were made" not in first and rest.count("How the scans were made: 1 of 2 settings differs") == 1
    )
    fold = rest.partition('<details id="protocol">')[2].partition("</details>")[0]
    assert fold.index("energy, kV") < fold.index("slices") and "<strong>68 (40), 60 (20)</strong>" in fold
    assert "The centre goes with fracture (Cramér&#39;s V 0.50; centre 1: 40, 30 events" in rest
    assert "has an AUC of 0.80 (95 % 0.70–0.90; n 60, 32 events), where chance alone would give 0.56, and" in rest
    write_table(run.scanners, pd.DataFrame([found | {"warn": False}]))
    assert "goes with fracture" not in write_report(run).read_text(encoding="utf-8")


def test_another_n_than_the_others_is_said(finished, tmp_path):
    """A model that leaves women out is compared on other women."""
    run = Run(tmp_path)
    (run.folder / "run.json").write_bytes(finished.record.read_bytes())
    table = read_table(finished.performance)
    table.loc[0, ["n", "events"]] = [58, 19]
    write_table(run.performance, table)
    text = Page(write_report(run)).text
    assert text.count("n 58, 19 events") == 1
    assert "60 women, 20 events" in text


def test_failures_are_on_top(finished, tmp_path):
    """A red line in a log that nobody opens does not stop anybody from citing a number."""
    run = Run(tmp_path)
    record = read_json(finished.record)
    folder = str(tmp_path / "scans")
    failed = {"status": "failed", "seconds": 3.0, "error": f"ScanError: {folder}/a.AIM is cut.", "parameters": {}}
    not_run = {"status": "not run", "seconds": None, "error": None, "parameters": {"seed": 7}}
    record["stages"] |= {
        "02_train_bone_tibia": {"stage": "02_train_bone", "bone": "tibia", **failed},
        "04_clustering": {"stage": "04_clustering", "bone": "", **not_run},
    }
    write_json(run.record, record)
    write_table(run.curation, read_table(finished.curation))
    page = Page(write_report(run))
    assert "02_train_bone_tibia failed: ScanError: scans/a.AIM is cut." in page.text
    assert folder not in page.text
    assert "Not run: 04_clustering." in page.text
    assert "120 scans: 1 not curated, 1 flagged." in page.text
    assert "failed: sub-0002_wrist.AIM ends after 12 of 24 slices." in page.text
    assert "tibia: wider than its field of 48 mm" in page.text
    assert ("p", {"class": "alarm", "role": "alert"}) in page.tags


def test_a_run_that_failed_at_once_has_a_report_too(bare):
    """Whoever needs the report most has the least to show in it."""
    text = Page(write_report(bare)).text
    assert "01_data_curation failed: CohortError: No scans." in text
    assert "There is no result yet" in text
    assert "Table 1 is missing" in text
    assert "the comparison of the model families did not finish" in text


def test_figures_stand_by_stage_with_words_for_those_who_do_not_see(finished):
    """A picture without a text is lost to a screen reader, and one under the wrong stage to everybody."""
    page = Page(finished.report)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert images[0]["alt"].startswith("Out-of-fold AUC of each family: BMD 0.64 (95 % 0.47–0.77); pQCT-index")
    assert images[0]["alt"].endswith("Virtual cohort.")
    assert [image["alt"] for image in images[1:]] == [
        "Scores of the radius. One dot a woman.",
        "UMAP of the indices. One dot a woman; the axes have no unit.",
    ]
    assert all(int(image["width"]) > 100 for image in images)
    ids = [attributes["id"] for tag, attributes in page.tags if "id" in attributes]
    sections = ["cohort", "scans", "performance", "bones", "groups", "methods", "tripod", "record"]
    assert [name for name in ids if name in sections] == sections
    assert ("html", {"lang": "en"}) in page.tags


def test_the_record_is_complete(finished):
    """Without parameters, versions and hashes nobody could repeat the run."""
    text = Page(finished.report).text
    for said in ("1 min 40 s", "2026-01-05", "torch 2.14.1", "cd" * 32, "reports/x", "participants.tsv"):
        assert said in text, said


def test_what_a_table_says_stays_text(bare):
    """A reason or a name with angle brackets must not become part of the page."""
    write_table(bare.curation, synthetic.curation().assign(status="failed", reason="<script>alert(1)</script>"))
    path = write_report(bare)
    assert "failed: <script>alert(1)</script>" in Page(path).text
    assert [tag for tag, _ in Page(path).tags].count("script") == 1


def test_a_failed_notebook_has_its_page(finished):
    """The traceback is what one looks for; widgets show their static twin."""
    page = Page(finished.page("01_data_curation"))
    assert "ValueError: No scan." in page.text
    assert "the static twin" in page.text
    assert ("a", {"href": "../index.html"}) in page.tags
    assert [a["alt"] for tag, a in page.tags if tag == "img"] == ["A bone."]


def test_a_page_is_written_whole_or_not_at_all(finished, tmp_path):
    """A half-written notebook must not destroy the page of the last good run."""
    page = tmp_path / "notebooks" / "a.html"
    notebook_page(finished.folder / "nb.ipynb", page, virtual=None)
    before = page.read_bytes()
    broken = tmp_path / "broken.ipynb"
    broken.write_text('{"cells": [', encoding="utf-8")
    with pytest.raises(nbformat.reader.NotJSONError):
        notebook_page(broken, page, virtual=None)
    assert page.read_bytes() == before
    assert [path.name for path in page.parent.iterdir()] == ["a.html"]


def test_the_same_run_gives_the_same_report(finished):
    """A report that changes by itself cannot be compared with another."""
    before = finished.report.read_bytes()
    write_report(finished)
    assert finished.report.read_bytes() == before


def test_planned_differences_are_said_with_their_interval(finished):
    """The sentence is the row: difference, interval, adjusted p, n, events, and no more than that."""
    text = Page(finished.report).text
    row = read_table(finished.comparisons).query("protocol == 'all' and question == 'DeepQCT − pQCT-index'").iloc[0]
    figures = f"{row['estimate']:+.2f} (95 % {row['low']:+.2f} to {row['high']:+.2f}; n 60, 20 events)".replace(
        "-", "−"
    )
    assert f"DeepQCT − pQCT-index: difference in AUC {figures}" in text
    assert row["model_a"] == "mean of all four bones"
    assert f"p {row['p_holm']:.2g} after Holm" in text
    verdicts = {margin: f"{'is' if row[f'non_inferior_{margin}'] else 'is not'} shown" for margin in ("0.03", "0.05")}
    said = ", ".join(f"with a margin of {margin} {verdict}" for margin, verdict in verdicts.items())
    assert f"Non-inferiority {said} (one-sided, after Holm)." in text
    assert "late fusion − pQCT-index: difference in AUC" in text
    assert "Standard stacking favours the late fusion, so that this is not tested." in text
    assert "DeepQCT is represented by the mean of the bones with equal weights, as was fixed beforehand" in text
    assert "assumed to make the networks' own error 1.4 times DeLong's. network_repeats=3 measures it." in text
    row = read_table(finished.comparisons).query("protocol == 'all' and question == 'pQCT-index − BMD'").iloc[0]
    assert f"p {row['p_holm']:.2g} after Holm: no difference is shown, which does not show that there is none." in text
    assert "In the first repeat the best of the 19 models reached 0.81 (n 60, 20 events); as many" in text
    assert "models, as similar to each other, reach 0.58 by chance" in text


def test_the_checklist_leaves_open_what_a_run_cannot_know(finished, bare):
    """A checklist that fills itself with words would be worse than none."""
    page = Page(finished.report)
    assert "of 52 items are answered by this run" in page.text
    assert page.text.count("open: to be written by the authors") > 15
    found = tripod.checklist(settings={}, people=(None, None, "outcome"), virtual=False, there={})
    assert (
        not found.set_index("item").loc[["5a", "9b", "11", "12e", "12g", "15", "17", "20a", "22", "23a"], "done"].any()
    )
    assert found["item"].is_unique
    with_all = tripod.checklist(
        settings={"02_train_bone": {"epochs": 6}},
        people=(60, 20, "fracture"),
        virtual=True,
        there={"performance": True},
    )
    assert "6 epochs fixed beforehand" in with_all.set_index("item").loc["12c", "answer"]


def test_the_checklist_claims_no_predictor_and_no_subgroup_that_was_not_there():
    """Of osteoporosis bone density predicts nothing here and parts nobody; and it is no history."""
    run = {"settings": {}, "people": (60, 20, "osteoporosis"), "virtual": False}
    there = {"performance": True, "subgroups": True}
    own = tripod.checklist(
        **run, there=there, families=["Clinical", "DeepQCT"], subgroups=["younger than 75", "75 and older"]
    ).set_index("item")["answer"]
    assert own["9a"] == "by family: clinical factors, networks' scores; none selected"
    assert own["14"] == "AUC by age; no other group is looked at"
    assert own["8a"] == "osteoporosis, known when the scan was made: no time horizon, no follow-up"
    nobody = tripod.checklist(**run, there=there, families=["DeepQCT"], subgroups=[]).set_index("item")
    assert not nobody.loc["14", "done"]


def test_a_control_that_scores_is_an_alarm(tmp_path):
    """Noise above chance means that something leaks: it must not stand in a table only."""
    run = synthetic.finished_run(tmp_path / "run")
    table = pd.DataFrame({"bone": "ulna", "control": ["none", "noise"], "protocol": "all", "split": "out-of-fold"})
    table = table.assign(
        shown=["the bone itself", "images of noise"],
        estimate=[0.8, 0.7],
        low=[0.7, 0.6],
        high=[0.9, 0.8],
        n=60,
        events=20,
    )
    write_table(run.controls("ulna"), table.assign(must_fail=[False, True], at_chance=[False, False]))
    for bone in ("radius", "ulna", "tibia"):
        run.scores(bone).touch()
    write_report(run)
    text = Page(run.report).text
    alarm = "The networks of the ulna are not at chance with images of noise: 0.70 (95 % 0.60–0.80; n 60, 20 events)"
    assert text.index(alarm) < text.index("out-of-fold AUC"), "before the result that it puts in doubt"
    assert "Not tested for leaks: radius, tibia." in text
    write_table(run.controls("ulna"), table.assign(low=[0.7, 0.4], must_fail=[False, True], at_chance=[False, True]))
    assert "are not at chance" not in write_report(run).read_text(encoding="utf-8")


def test_what_networks_learned_stands_beside_what_they_tell(tmp_path):
    """A held-out AUC near chance means another thing where the training AUC is near chance, too."""
    run = synthetic.finished_run(tmp_path / "run")
    place = {"protocol": "all", "repeat": 0, "fold": ["0", "1"], "low": 0.5, "high": 1.0}
    seen = pd.DataFrame(place | {"split": "training", "estimate": [0.62, 0.58], "n": 40, "events": [13, 14]})
    unseen = pd.DataFrame(place | {"split": "out-of-fold", "estimate": [0.55, float("nan")], "n": 20, "events": [7, 4]})
    again = seen.assign(protocol="as-published", estimate=0.99)
    write_table(run.training("radius"), pd.concat([seen, unseen, again]))
    write_report(run)
    page = Page(run.report)
    assert page.text.count("0.60 (mean of 2 folds, 0.58 to 0.62; 40 women, 13 to 14 events each)") == 1
    assert page.text.count("not estimable (20 women, 4 to 7 events each)") == 1
    assert "02_train_bone_radius" in [attributes.get("id") for _, attributes in page.tags]


def test_a_slider_stands_in_the_report_and_in_the_notebook_with_its_pictures(tmp_path):
    """Letters of a picture that look like a path must stay, and paths around it must go."""
    run = synthetic.finished_run(tmp_path / "run")
    data = "data:image/jpeg;base64,/9j/4AAQSkZJRg/mnt/hospital/9k="
    html = f'<div class="dq-slices">/mnt/hospital/scans/a.AIM<img src="{data}" alt="a"></div>'
    write_json(run.figures("05_explore") / "slices_radius.json", {"title": "A scan", "caption": "Look.", "order": 0})
    record = read_json(run.record)
    explored = {"stage": "05_explore", "bone": "", "status": "done", "seconds": 1.0, "error": None, "parameters": {}}
    write_json(run.record, record | {"stages": record["stages"] | {"05_explore": explored}})
    (run.figures("05_explore") / "slices_radius.html").write_text(
        html.replace("/mnt/hospital/scans/", ""), encoding="utf-8"
    )
    page = Page(write_report(run))
    assert data in [attributes.get("src") for tag, attributes in page.tags if tag == "img"]
    assert "A scan. Look." in page.text
    output = nbformat.v4.new_output("display_data", {"text/html": html})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
    nbformat.write(notebook, tmp_path / "nb.ipynb")
    page = Page(notebook_page(tmp_path / "nb.ipynb", tmp_path / "run" / "notebooks" / "nb.html", virtual=None))
    assert [attributes["src"] for tag, attributes in page.tags if tag == "img"] == [data]
    assert "…/a.AIM" in page.text


def known(run: Run, **low: float) -> None:
    """Write the lower ends of AUCs of the networks: of each bone by its name, and of ``all`` of them together."""
    table = read_table(run.performance)
    for name, value in low.items():
        model = "mean of all four bones" if name == "all" else name
        table.loc[(table["family"] == "DeepQCT") & (table["model"] == model) & (table["measure"] == "AUC"), "low"] = (
            value
        )
    write_table(run.performance, table)


def test_what_a_network_does_not_know_is_not_drawn(tmp_path):
    """A score sheet of a model without information, or where it looks, is read as if it meant something."""
    run = synthetic.finished_run(tmp_path / "run", figures=())
    for job, name in (
        ("03_fusion_and_baselines", "nomogram"),
        ("02_train_bone_radius", "saliency"),
        ("02_train_bone_tibia", "saliency"),
        ("05_explore", "saliency_ulna"),
    ):
        words = {"title": f"{name} of {job}", "caption": "Look.", "order": 0, "virtual": True}
        plots.save(plots.montage({}), run.figures(job), name=name, **words)
    known(run, all=0.48, radius=0.6, tibia=0.41)
    page = Page(write_report(run))
    shown = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert [alt for alt in shown if alt.endswith("Look.")] == ["saliency of 02_train_bone_radius. Look."]
    row = read_table(run.performance).query("protocol == 'all' and family == 'DeepQCT' and model == 'tibia'").iloc[0]
    said = f"tibia (AUC {row['estimate']:.2f} (95 % 0.41–{row['high']:.2f}; n 60, 20 events))"
    assert said in page.text
    assert "Where they look is not drawn: it would be a picture of chance." in page.text
    assert "It is not shown that DeepQCT tells the outcomes apart" in page.text
    assert "Not shown. DeepQCT, mean of all four bones: out-of-fold AUC" in page.text
    known(run, all=0.51, ulna=0.51, tibia=0.51, fibula=0.51)
    text = write_report(run).read_text(encoding="utf-8")
    assert 'alt="nomogram of 03_fusion_and_baselines. Look."' in text
    assert "It is not shown that" not in text


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (0.6, 0.9, 0.001, "Yes"),
        (0.51, 0.9, 0.04, "Perhaps"),
        (0.48, 0.9, 0.03, "Not shown"),
        (0.2, 0.45, 1.0, "Not shown"),
        (float("nan"), float("nan"), float("nan"), "Not estimable"),
    ],
)
def test_the_verdict_follows_interval_and_p(finished, low, high, p, verdict):
    """A "yes" that the interval does not bear would be the one word that everybody remembers."""
    table, models = read_table(finished.performance), read_table(finished.models_table)
    at = (table["family"] == "DeepQCT") & (table["measure"] == "AUC")
    table.loc[at, ["estimate", "low", "high", "p"]] = [(low + high) / 2, low, high, p]
    first = summary.answers(table, pd.DataFrame(), models=models, outcome="fracture")[0]
    assert first["verdict"] == verdict
    assert "n 60, 20 events" in first["words"]


def test_one_figure_answers_one_question(tmp_path):
    """Twenty-eight ROC curves, or four figures where one would do, bury the figure that counts."""
    run = synthetic.finished_run(tmp_path / "run", figures=())

    def drawn(job: Job | str, *names: str) -> None:
        for name in names:
            words = {"title": f"{name} of {job}", "caption": "Look.", "order": 0, "virtual": True}
            plots.save(plots.montage({}), run.figures(job), name=name, **words)

    for bone in ("radius", "ulna"):
        drawn(Job("02_train_bone", bone), "scores", "losses")
    page = Page(write_report(run))
    assert [tag for tag, _ in page.tags].count("figcaption") == 2
    assert page.text.count("Out-of-fold scores. Look.") == 1
    assert "How the losses fall (02_train_bone_radius, 02_train_bone_ulna)" in page.text
    drawn("03_fusion_and_baselines", "scores", "auc_as-published_test", "roc_BMD")
    page = Page(write_report(run))
    alts = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert alts[1:] == ["scores of 03_fusion_and_baselines. Look."]
    for named in ("auc_as-published_test", "roc_BMD"):
        assert f"{named} of 03_fusion_and_baselines" in page.text


def test_no_figure_of_a_run_is_lost(finished):
    """A figure that the report does not show must be named, or nobody looks for it."""
    shown = {name for kind in (figures.SHOWN, figures.FOLDED) for names in kind.values() for name in names}
    assert {"flagged", "bones", "indices", "saliency", "nomogram"} <= shown
    job = Job("04_clustering")
    found = figures.figures(finished, [job], names=[], performance=pd.DataFrame(), models=pd.DataFrame())
    assert [one["title"] for one in found.more] == ["UMAP of the indices"]


def test_pictures_are_small(tmp_path):
    """A report over 5 MB is not mailed; text, here thin lines, must stay as sharp as it was."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (800, 2400), dtype=np.uint8)
    for name, pixels in (
        ("noise", noise),
        ("lines", np.where(np.arange(600) % 30, 255, 0).astype(np.uint8)[None].repeat(90, 0)),
    ):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    kept = figures.small(tmp_path / "noise.png")
    assert len(kept) < 0.6 * (tmp_path / "noise.png").stat().st_size
    assert Image.open(BytesIO(kept)).width == figures.WIDEST
    lines = Image.open(BytesIO(figures.small(tmp_path / "lines.png"))).convert("L")
    assert np.array_equal(np.asarray(lines), np.asarray(Image.open(tmp_path / "lines.png")))


def test_the_whole_report_is_small(finished):
    """Nobody waits for a report of 50 MB, and no mail takes it."""
    assert finished.report.stat().st_size < 1_000_000  # two figures; a whole run has about 60


def test_errors_of_a_number_have_its_unit_and_its_digits(tmp_path):
    """An MAE of 0.01 (0.01 to 0.01) says nothing of a thickness in millimetres."""
    run = synthetic.explored_run(tmp_path)
    people = read_table(run.participants).assign(thickness=np.linspace(0.18, 0.26, 60))
    write_table(run.participants, people.drop(columns="fracture"))
    write_json(run.dictionary, {"thickness": {"Role": "outcome", "Kind": "number", "Units": "mm"}})
    row = {"protocol": "all", "split": "out-of-fold", "family": "BMD", "model": "femoral neck", "n": 60, "events": None}
    rows = {"measure": ["R²", "MAE", "slope"], "estimate": [0.2, 0.0123, 0.9]}
    write_table(run.performance, pd.DataFrame(rows | row | {"low": [0.1, 0.0101, 0.5], "high": [0.3, 0.0145, 1.3]}))
    (other,) = [one for one in tables.others(run) if one["title"] == "Other measures"]
    assert other["rows"] == [["MAE, mm", "0.0123 (0.0101 to 0.0145)"], ["slope", "0.90 (0.50 to 1.30)"]]


def test_each_scanner_has_its_own_line_of_noise():
    """What two scanners have together is the noise of neither."""
    pair = precision([1, 1], [300.0, 306.0]).row()
    index = {"bone": "tibia", "symbol": "Tt.Ar", "unit": "mm²", **pair}
    rows = [index | {"scanner": scanner, "lsc": 12.0 + k} for k, scanner in enumerate((None, 0.061, 0.082))]
    more = pd.DataFrame([*rows, index | {"symbol": "Ct.Ar", "scanner": None}])
    shown = tables.noise(more.assign(registered_lsc=[9.0, None, None, None], registered_n=1, **{
        f"registered_{name}": pair[name] for name in ("lsc_low", "lsc_high", "degrees_of_freedom")
    }))  # fmt: skip
    named = ["Tt.Ar", "Tt.Ar, voxel 0.061 mm", "Tt.Ar, voxel 0.082 mm", "Tt.Ar, registered", "Ct.Ar"]
    assert [row[0] for row in shown["rows"]] == named and shown["scanners"]
    assert [row[2].split()[0] for row in shown["rows"]] == ["12", "13", "14", "9", "12"]
    assert len(plots.precision_errors(pd.DataFrame(rows))[0].lines) > 0
    scored = pd.DataFrame({"participant_id": list("AABB"), "centre": "", "score": [0.2, 0.4, 1.0, 1.8]})
    both = tables.noise(more, scores={"tibia": scored.assign(scanner=[0.061] * 2 + [0.082] * 2)})["scores"]
    assert [line.split(":")[0] for line in both] == [f"Score of the tibia's networks{of}" for of in (
        "", ", voxel 0.061 mm", ", voxel 0.082 mm"
    )]  # fmt: skip


def test_wide_intervals_are_read_without_powers_of_ten(tmp_path):
    """An odds ratio with a cell of nobody, and a noise from one woman, end above 100."""
    pair = precision([1, 1], [300.0, 306.0]).row()
    noise = pd.DataFrame([{"bone": "tibia", "symbol": "Tt.Ar", "unit": "mm²", **pair}])
    assert tables.noise(noise)["rows"] == [["Tt.Ar", "mm²", "12 (5.2 to 375)"]]
    table = pd.DataFrame({"variable": ["fracture"], "effect": [14.2], "low": [0.6], "high": [321.4], "p": [0.000123]})
    write_table(tmp_path / "a.csv", table)
    assert tables.rounded(tmp_path / "a.csv")["rows"] == [["fracture", "14", "0.6", "321", "0.00012"]]


def test_the_head_of_the_networks_names_its_figure_also_where_bones_have_other_women(tmp_path):
    """Four naked numbers between 0 and 1 could be anything."""
    run = synthetic.explored_run(tmp_path)
    rows = {"family": "DeepQCT", "model": ["radius", "tibia"], "n": [60, 58], "estimate": [0.7, 0.8]}
    same = {"protocol": "all", "split": "out-of-fold", "measure": "AUC", "low": 0.6, "high": 0.9, "events": 20}
    said = _bone_aucs(run, pd.DataFrame(rows | same), models=synthetic.models())
    assert said.startswith("AUC radius 0.70 (95 % 0.60–0.90; n 60, 20 events), tibia 0.80")
    assert _bone_aucs(run, pd.DataFrame(), models=synthetic.models()) == ""
