"""README and documentation hold: code runs, commands and quoted errors exist, links lead somewhere, words are spelt."""

from __future__ import annotations

import ast
import io
import os
import re
import shlex
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import nbformat
import pytest
import synthetic
import typer.main
from conftest import ROOT

import deepqct as dq
from deepqct.cli import app
from deepqct.run.parameters import STAGES, declared_parameters

DOCS = ROOT / "docs"
MADE = ("build", "made", "reference/api", "tutorial/notebooks")  # not written by hand
PAGES = [
    ROOT / "README.md",
    *(path for path in sorted(DOCS.rglob("*.md")) if not path.relative_to(DOCS).as_posix().startswith(MADE)),
]
# Every address outside of the repository that README and documentation name: whoever adds one has opened it.
EXTERNAL = {
    "https://doi.org/10.1101/2024.04.01.24305147",
    "https://download.pytorch.org/models/resnet34-b627a593.pth",
    "https://snakemake.readthedocs.io/en/stable/executing/cli.html#profiles",
}


def name_of(path: Path) -> str:
    """A page as the tests call it."""
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a page: language, and text without the indentation of the fence."""
    language, lines, indent = None, [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        fence = re.match(r"^(\s*)```(.*)$", line)
        if fence and language is None:
            language, lines, indent = fence.group(2).strip(), [], fence.group(1)
        elif fence and not fence.group(2):
            yield {"{code-cell} python": "python"}.get(language, language), "\n".join(lines)
            language = None
        elif language is not None:
            lines.append(line.removeprefix(indent))
    assert language is None, f"{name_of(path)}: a fence is never closed"


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"(?ms)^\s*```.*?^\s*```$", "", path.read_text(encoding="utf-8"))


def python_of(path: Path) -> str:
    """All Python of a page, in its order."""
    return "\n".join(text for language, text in blocks(path) if language == "python")


@pytest.fixture(scope="module")
def made() -> Iterator[ModuleType]:
    """The module that makes tables and pages from the code."""
    sys.path.insert(0, str(DOCS))
    try:
        import made

        yield made
    finally:
        sys.path.remove(str(DOCS))


@pytest.mark.parametrize("path", [path for path in PAGES if python_of(path)], ids=name_of)
def test_the_python_of_a_page_runs(path, tmp_path, monkeypatch):
    """An example that does not run is worse than none."""
    monkeypatch.chdir(tmp_path)
    page = ModuleType("page_of_docs")
    monkeypatch.setitem(sys.modules, page.__name__, page)
    exec(compile(python_of(path), name_of(path), "exec"), page.__dict__)


def shell_lines() -> list[tuple[str, list[str]]]:
    """Every command of the pages, in blocks and in text: the page, and the words of the command."""
    found = []
    for path in PAGES:
        texts = [text for language, text in blocks(path) if language == "sh"]
        spans = re.findall(r"`((?:[A-Z_]+=\S+ )?(?:deepqct|make) [^`]+)`", prose(path).replace("\n", " "))
        for line in [*"\n".join(texts).splitlines(), *spans]:
            for part in re.split(r"&&", line):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words:
                    found.append((name_of(path), words))
    return found


def called(words: list[str]) -> None:
    """Parse a call of deepqct as its command line would; nothing is run."""
    command, left = typer.main.get_command(app), words[1:]
    while hasattr(command, "commands"):
        assert left, "a command is missing"
        if left[0] in ("--help", "COMMAND"):
            return
        command, left = command.commands[left[0]], left[1:]
    if not left:
        return  # a mention of the command, not a call
    with command.make_context(command.name, [word for word in left if word != "…"]) as context:
        settings = context.params.get("settings") or []
    for setting in settings:
        name, _, value = setting.partition("=")
        stage, dot, own = name.rpartition(".")
        takers = [stage] if dot else [s for s in STAGES if own in declared_parameters(s)]
        assert takers, f"no stage has the parameter {name}"
        for taker in takers:
            for each in value.split(",") if own == "bone" else [value]:
                declared_parameters(taker)[own].parse(each, stage=taker)


def test_every_command_exists_with_its_options():
    """A renamed option, parameter or target would send people into an error."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    seen = set()
    for page, words in shell_lines():
        try:
            if words[0] == "deepqct":
                called(words)
            elif words[0] == "make":
                assert {word for word in words[1:] if "=" not in word} <= targets
                assert all(f"$({word.partition('=')[0]})" in makefile for word in words[1:] if "=" in word)
            elif words[:3] == ["python", "-m", "pytest"]:
                assert all((ROOT / word).exists() for word in words[3:] if word.endswith(".py"))
        except Exception as error:
            raise AssertionError(f"{page}: {shlex.join(words)}: {error}") from error
        seen.add(words[0])
    assert {"deepqct", "make", "python", "pip", "git"} <= seen


@pytest.mark.parametrize("words", ["deepqct run x epoch=3", "deepqct run x --presets quick", "deepqct runs x"])
def test_a_command_that_does_not_exist_is_noticed(words):
    """The parser of the test above must not let everything pass."""
    with pytest.raises(Exception, match=r"epoch|presets|runs"):
        called(words.split())


def test_every_target_of_make_is_in_the_reference():
    """What `make` can do is listed in one place."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    listed = set(
        re.findall(r"^\| `make ([a-z-]+)`", (DOCS / "reference/commands.md").read_text(encoding="utf-8"), re.M)
    )
    assert targets == listed


@cache
def made_pages() -> dict[Path, str]:
    """Pages and fragments that are made from the code, by where they lie when the documentation is built."""
    sys.path.insert(0, str(DOCS))
    import made

    sys.path.remove(str(DOCS))
    fragments = made.fragments(None) | {"../tutorial/notebooks/index": "# The notebooks, executed\n"}
    pages = {DOCS / "made" / f"{name}.md": text for name, text in fragments.items()}
    pages |= {DOCS / "reference" / "api" / f"{name}.md": text for name, text in made.api_pages().items()}
    return {path.resolve(): text for path, text in pages.items()}


def anchors(path: Path) -> set[str]:
    """What a link into a page may name: its headings as GitHub and MyST name them, and its labels."""
    text = made_pages().get(path.resolve()) or path.read_text(encoding="utf-8")
    found = set()
    for included in re.findall(r"```\{include\} (\S+)", text):
        found |= anchors((path.parent / included).resolve())
    plain = re.sub(r"(?ms)^```(?!\{include\}).*?^```$", "", text)
    for heading in re.findall(r"^#+ (.*)$", plain, flags=re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found | set(re.findall(r"^\(([\w-]+)\)=$", plain, flags=re.MULTILINE))


def links(path: Path) -> list[str]:
    """The targets of a page's links and pictures."""
    text = re.sub(r"`[^`]*`", "", prose(path))
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"<(https?://[^>]+)>", text)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path):
    """A link to a page that moved is a dead end."""
    for target in links(path):
        if re.match(r"https?:", target):
            parts = urlsplit(target)
            assert parts.scheme == "https", f"{target} is not https"
            assert parts.hostname, f"{target} has no host"
            assert target in EXTERNAL, f"{target} is not among the addresses that somebody has opened"
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        assert place.exists() or place in made_pages(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(place), f"{file} has no {anchor}; it has {sorted(anchors(place))}"


def test_every_external_address_is_still_named():
    """The list above is of what is there."""
    assert {target for path in PAGES for target in links(path) if target.startswith("http")} == EXTERNAL


def test_every_page_is_in_a_table_of_contents():
    """A page that no other lists is found by nobody."""
    listed = set()
    for path in PAGES[1:]:
        for language, text in blocks(path):
            if language == "{toctree}":
                entries = [line for line in text.splitlines() if line and not line.startswith(":")]
                listed |= {(path.parent / f"{entry}.md").resolve() for entry in entries}
    there = {path.resolve() for path in PAGES[1:]} - {(DOCS / "index.md").resolve()}
    assert there == listed - set(made_pages())


@cache
def sentences() -> list[str]:
    """Every text in the package, with … for what is filled in."""
    found = []
    for path in sorted((ROOT / "deepqct").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


QUOTED = re.findall(r"^### `(.+)`$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_error_is_in_the_code(quoted):
    """People search for the words that they see."""
    parts = [part for part in quoted.split("…") if part.strip()]
    assert sum(map(len, parts)) >= 12, "too few words to be found by"
    pattern = re.compile(".*".join(map(re.escape, parts)), flags=re.DOTALL)
    assert any(pattern.search(text) for text in sentences())


def test_the_most_likely_errors_are_explained():
    """Some thirty, each once."""
    assert len(QUOTED) == len(set(QUOTED)) >= 30


def test_every_index_and_texture_feature_is_described(made):
    """An index that was added has its formula, source and picture; one that was removed has none."""
    import index_facts
    import index_pictures

    units = {*dq.terms.UNITS, *dq.terms.STRENGTH_UNITS, *dq.terms.FALL_UNITS}
    assert set(index_facts.CALCULATED) == set(index_facts.SOURCES) == units
    assert set(index_facts.THRESHOLDS) <= units
    woman = dq.virtual.draw_women(1, seed=1).iloc[0]
    bone = dq.find_bones(dq.virtual.draw_scan(woman, site="wrist", side="right", voxel_mm=0.3, slices=8, seed=1))[
        "radius"
    ]
    assert set(index_pictures.index_panels(bone)) == units
    text = made.texture_sections()
    assert all(f"`{name}`" in text for name in dq.bones.texture_table()["feature"])
    assert set(index_facts.KINDS_OF_TEXTURE) == set(index_pictures.KINDS)


def test_every_parameter_is_in_the_reference(made):
    """The page is made from the notebooks' own cells, and a group that is not read would lose its parameters."""
    text = made.parameter_sections()
    assert {"review", "08_study_planner"} < set(made.notebooks())
    for stage in made.notebooks():
        part = text.partition(f"## {stage}\n")[2].partition("\n## ")[0]
        for name, parameter in declared_parameters(stage).items():
            assert f"| `{name}` | {made.KINDS[parameter.kind]} |" in part
            assert (
                parameter.note.replace("|", "\\|").replace("<", "&lt;") in part.replace("`", "")
                or "`" in parameter.note
            )


def test_every_name_on_a_face_is_in_the_interface(made):
    """What a wing hands on is public, and what is public is described."""
    pages = made.api_pages()
    for path in sorted((ROOT / "deepqct").glob("*/__init__.pyi")):
        for name in made.face(path.parent.name):
            assert re.search(rf":: deepqct\.{path.parent.name}\.{name}$", pages[path.parent.name], re.M), name


def test_every_command_and_file_is_in_the_reference(made):
    """Both tables follow the code: the commands that are not hidden, and the files that `Run` knows."""
    commands = made.command_sections()
    for words in (
        "init",
        "run",
        "report",
        "check",
        "inspect",
        "app",
        "pretrain",
        "bundle",
        "predict",
        "study",
        "cohort new",
    ):
        assert f"## deepqct {words}\n" in commands
    assert "--phenotype-separation" in commands
    files = made.run_file_table(None)
    assert all(
        f"`{name}`" in files for name in ("predictions.csv", "models/<bone>", "notebooks/<job>.html", "index.html")
    )


def test_the_report_s_sections_are_called_as_it_calls_them():
    """The page that explains the report names its parts."""
    text = (DOCS / "tutorial/read_the_report.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| ([A-Z][^|`]*?) \|", text.partition("## The sections")[2], flags=re.MULTILINE)
    report = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "deepqct" / "report").rglob("*") if path.is_file()
                     and path.suffix in (".py", ".j2"))  # fmt: skip
    assert len(named) > 6
    assert not [name for name in named if name != "Section" and f"{name}" not in report]


def test_no_patient_comes_into_the_pages(made, tmp_path, monkeypatch):
    """Executed notebooks and pictures show women: of a run of patients nothing may be shown."""
    import pictures

    run = synthetic.explored_run(tmp_path / "run", virtual=False)
    run.report.touch()
    monkeypatch.setenv(made.RUN, str(run.folder))
    with pytest.raises(ValueError, match="is a run of patients"):
        made.write_pages(tmp_path)
    with pytest.raises(ValueError, match="is a run of patients"):
        pictures.main(str(run.folder))
    assert not list(tmp_path.rglob("*.md")) + list(tmp_path.rglob("*.png"))


def test_the_figures_of_the_readme_are_those_of_the_example_report():
    """A figure that nobody can look up is a claim."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    run = dq.Run(ROOT / "reports" / "example")
    performance = dq.run_tables.main_rows(dq.folder.read_table(run.performance))
    rows = dq.run_tables.headlines(performance, dq.run_tables.read_models(run)).query("measure == 'AUC'")
    names = {"DeepQCT": "AUC", "pQCT-index": "indices", "Texture": "texture", "BMD": "BMD"}
    found = rows[rows["family"].isin(names)]
    assert len(found) == len(names)
    for row in found.itertuples():
        estimate, low, high = (f"{value:.2f}".removeprefix("0") for value in (row.estimate, row.low, row.high))
        assert re.search(rf"{names[row.family]} {estimate} \((?:95 % )?{low} to {high}\)", text), row.family
    assert f"{int(rows['n'].max())} virtual women, {int(rows['events'].max())} with a fracture" in text
    tested = dq.folder.read_table(run.comparisons).iloc[0]
    low, high = (f"{abs(value):.2f}".removeprefix("0") for value in (tested["low"], tested["high"]))
    assert f"+{tested['estimate']:.2f} (−{low} to +{high})".replace("+0.", "+.") in text


def test_the_readme_is_one_screen():
    """Whoever has ten minutes reads it whole; everything else is in docs/."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8")) < 6000


def test_the_pictures_are_small():
    """Whoever clones the repository carries them."""
    pictures = list((DOCS / "pictures").glob("*.png"))
    assert {"overview", "report", "review", "explorer"} <= {path.stem for path in pictures}
    assert sum(path.stat().st_size for path in pictures) < 3_000_000


def words_of_code(path: Path) -> str:
    """Docstrings without their examples, comments, and texts of four words and more."""
    source = path.read_text(encoding="utf-8")
    texts = [n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    found = [re.sub(r"(?m)^\s*>>>.*(\n(?!\s*\n).*)*", "", text) for text in texts if len(text.split()) > 3]
    found = [text for text in found if not re.search(r"[\w-]+:[^\s:]+;", text)]  # no styles of pages
    comments = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n\n".join([*found, *(token.string for token in comments if token.type == tokenize.COMMENT)])


def test_words_are_spelt(tmp_path):
    """British spelling everywhere; names in code are what libraries call them."""
    for path in [*PAGES, ROOT / "CHANGELOG.md", ROOT / ".github" / "CONTRIBUTING.md"]:
        _copy(tmp_path, path, path.read_text(encoding="utf-8"))
    for path in sorted([*(ROOT / "deepqct").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *DOCS.glob("*.py")]):
        _copy(tmp_path, path, words_of_code(path))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        _copy(tmp_path, path, "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown"))
    planted = "col" + "or"
    _copy(tmp_path, ROOT / "planted.txt", f"The colour of {planted}.")
    said = typos(tmp_path)
    assert said.pop("planted.txt.md") == [f"`{planted}` should be `colour`"]
    assert not said


def _copy(folder: Path, path: Path, text: str) -> None:
    """Keep prose under the name of its file, as Markdown."""
    target = folder / f"{path.relative_to(ROOT).as_posix()}.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def typos(folder: Path) -> dict[str, list[str]]:
    """What the spelling checker finds, by file."""
    program = Path(sys.executable).with_name("typos")
    command = [
        str(program),
        "--config",
        str(ROOT / "pyproject.toml"),
        "--hidden",
        "--no-ignore",
        "--format",
        "brief",
        ".",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    assert not done.stderr, done.stderr
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        place, _, words = line.partition(": ")
        found.setdefault(place.split(":")[0].removeprefix("./"), []).append(words.removeprefix("error: "))
    return found


@pytest.mark.long
@pytest.mark.chain
def test_the_documentation_builds_and_asks_nobody(smoke_run):
    """Warnings are errors, the last line is where it is, and no page loads anything from another machine."""
    command = ["make", "docs", "-o", "env", f"BIN={Path(sys.executable).parent}", f"RUN={smoke_run}"]
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", env=own, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    index = Path(done.stdout.splitlines()[-1].removeprefix("Documentation: "))
    assert index == DOCS / "build" / "html" / "index.html"
    loads = re.compile(
        r"""<(?:script|img|iframe|source|video)\b[^>]*\bsrc=["'](?:https?:)?//"""
        r"""|<link\b[^>]*\brel=["'](?:stylesheet|preconnect|preload|icon)["'][^>]*\bhref=["'](?:https?:)?//"""
    )
    pages = list(index.parent.rglob("*.html"))
    assert len(pages) > 50
    assert not [path.name for path in pages if loads.search(path.read_text(encoding="utf-8"))]
    styles = list(index.parent.rglob("*.css"))
    assert not [
        path.name for path in styles if re.search(r"(?:url\(|@import\s+)[\"']?(?:https?:)?//", path.read_text("utf-8"))
    ]
