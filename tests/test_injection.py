"""Words of strangers on pages, in figures and tables: shown as they are, and never run."""

from __future__ import annotations

import re
from typing import Any

import ipywidgets
import pytest
import synthetic

from deepqct import plots
from deepqct.folder import Run, read_json, read_table, write_json, write_text
from deepqct.report import notebook_page, write_report

EVIL = "<img src=x onerror=alert(1)>"
LIVE = "<img src=x"


def spoil(run: Run) -> None:
    """Give some women ids that a page would run; a run folder may come from anybody."""
    ids = read_table(run.participants)["participant_id"].tolist()[:3]
    for path in [*run.folder.glob("*.csv"), *run.folder.glob("*.json")]:
        text = path.read_text(encoding="utf-8")
        for number, person in enumerate(ids):
            text = text.replace(person, f"{EVIL}{number}")
        write_text(path, text)


def test_a_report_runs_no_word_of_its_tables(tmp_path):
    run = synthetic.finished_run(tmp_path / "run", figures=list(synthetic.gallery())[:1])
    spoil(run)
    dictionary = read_json(run.dictionary)
    for entry in dictionary.values():
        if "Description" in entry:
            entry["Description"] += EVIL
    write_json(run.dictionary, dictionary)
    record = read_json(run.record)
    record |= {name: f"{record[name]}{EVIL}" for name in ("preset", "cohort", "device", "scenario")}
    for stage in record["stages"].values():
        stage["error"] = EVIL
    write_json(run.record, record)
    for path in run.folder.glob("figures/*/*.json"):
        write_json(path, {**read_json(path), "title": EVIL, "caption": EVIL})
    page = write_report(run).read_text(encoding="utf-8")
    assert page.count("&lt;img src=x") > 10
    assert LIVE not in page


def parts(widget: Any) -> list[Any]:
    """A widget and all that stands in it."""
    return [widget, *(part for child in getattr(widget, "children", ()) for part in parts(child))]


def test_the_explorer_runs_no_word_of_a_womans_row(tmp_path):
    from deepqct.widgets.explorer import Explorer

    run = synthetic.explored_run(tmp_path / "run")
    spoil(run)
    explorer = Explorer(run, patient=f"{EVIL}0")
    html = [part.value for part in parts(explorer) if isinstance(part, ipywidgets.HTML)]
    assert any("onerror" in text for text in html)
    assert [text for text in html if LIVE in text] == []


def test_a_notebooks_page_runs_no_output(tmp_path):
    """What a page shows of an output is HTML; its policy keeps the browser from running what stands in it."""
    import nbformat

    notebook = synthetic.notebook()
    notebook.cells.append(nbformat.v4.new_markdown_cell(EVIL))
    nbformat.write(notebook, tmp_path / "a.ipynb")
    page = notebook_page(tmp_path / "a.ipynb", tmp_path / "pages" / "a.html", virtual=None).read_text(encoding="utf-8")
    policy = re.search(r'<meta content="([^"]*)" http-equiv="Content-Security-Policy"', page)
    assert policy is not None
    assert "default-src 'none'" in policy.group(1)
    assert "script-src" not in policy.group(1)


@pytest.mark.parametrize("name", ["$x_{$", "$\\frac{1}{0}$", "a$b", "^{}_", "\\alpha$"])
def test_the_name_of_a_column_is_no_formula_of_a_figure(tmp_path, name):
    import matplotlib.pyplot as plt

    with plt.rc_context(plots.style.STYLE):
        figure, axes = plt.subplots()
        axes.set_title(name)
        axes.set_yticks([0.0], [name])
    png = plots.save(axes, tmp_path, name="a", title=name, caption=name, order=0, virtual=False)
    assert png.exists()
    assert name.replace("&", "&amp;") in (tmp_path / "a.svg").read_text(encoding="utf-8")
    plt.close(figure)


@pytest.mark.parametrize(("person", "file", "words"), [
    ("../../x", "a.AIM", "an id is letters"), (EVIL, "a.AIM", "an id is letters"), ("=1+1", "a.AIM", "an id is letters"),
    ("P1", "../a.AIM", "leaves the folder"), ("P1", "/etc/passwd", "leaves the folder"), ("P1", "l.AIM", "by a link"),
])  # fmt: skip
def test_a_table_of_new_scans_names_no_other_place(tmp_path, person, file, words):
    """A prediction writes files that are called after the women of a table that somebody sent."""
    from deepqct.bundles.new_scans import scans_given

    folder = tmp_path / "sent"
    folder.mkdir()
    (tmp_path / "a.AIM").write_bytes(b"x")
    (folder / "l.AIM").symlink_to(tmp_path / "a.AIM")
    head = "participant_id\tsite\tside\tfile\n"
    (folder / "scans.tsv").write_text(f"{head}{person}\twrist\tleft\t{file}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        scans_given([folder], None)


def test_a_scan_that_is_called_after_a_tag_has_an_id_of_letters(tmp_path):
    from deepqct.bundles.new_scans import scans_given

    found, _ = scans_given([tmp_path / f"{EVIL}_wrist_left.AIM"], None)
    assert re.fullmatch("[A-Za-z0-9-]+", found[0].participant_id)
