"""Sphinx's settings: one source of Markdown and docstrings, built without a network, every warning an error."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import made

import deepqct

project = "deepqct"
author = "The maintainers of deepqct"
project_copyright = f"{author}; Apache-2.0"
release = version = deepqct.__version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton"]
exclude_patterns = ["build", "made"]  # what is made is included by pages
default_role = "py:obj"

# Pages in Markdown; notebooks of a finished run are shown as they were executed, code cells of pages are run.
myst_enable_extensions = ["deflist", "colon_fence", "fieldlist"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_excludepatterns = ["tutorial/notebooks/*.ipynb"]
nb_execution_raise_on_error = True
nb_execution_timeout = 240
nb_merge_streams = True
nb_ipywidgets_js = {}  # widgets are shown by their static twins, so that no page asks another machine for a script

# Docstrings are numpydoc's.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
add_module_names = False
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"deepqct {release}"
html_static_path = ["static"]
html_css_files = ["deepqct.css"]
html_copy_source = False
html_show_sphinx = False
html_last_updated_fmt = None
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

made.write_pages(Path(__file__).parent)
