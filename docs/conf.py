"""
Sphinx configuration. The build needs no network, and neither do the pages: formulae become MathML, which browsers display themselves.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

project = "captum_proto"
author = "the authors of captum_proto"
version = release = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]
copyright = author

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"captum_proto {version}"
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["captum_proto.css"]

# Types stand in the docstrings; signatures show names and defaults.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88

# Every cross-reference has to lead somewhere, but for the types of other packages, which are named as text.
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(?!captum_proto\.).*"),
    ("py:mod", r"fnmatch|captum\.metrics"),
    ("py:exc", r".*"),
]


def _examples_as_section(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """``Examples::``, as Captum writes it, becomes a heading with a Python session beneath."""
    for index in reversed(range(len(lines))):
        if lines[index].strip() == "Examples::":
            indent = lines[index][: -len("Examples::")]
            lines[index : index + 1] = [f"{indent}.. rubric:: Examples", "", f"{indent}.. code-block:: pycon"]


def _mathml(formula: str, as_block: bool) -> str:
    """MathML in which the bars of ``\\lvert … \\rvert`` are brackets: left to themselves, browsers take them for operators."""
    text = tex2mathml(formula, as_block=as_block)
    text = text.replace('<mo class="mathopen">', '<mo form="prefix" stretchy="false">')
    return re.sub("<mo>([|‖])</mo>", r'<mo form="postfix" stretchy="false">\1</mo>', text)


def _visit_math(translator: Any, node: nodes.Element) -> None:
    translator.body.append(_mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def _visit_math_block(translator: Any, node: nodes.Element) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="formula"))
    translator.body.append(_mathml(node.astext(), as_block=True))
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """What Sphinx calls."""
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math_block, None))
    app.connect("autodoc-process-docstring", _examples_as_section, priority=600)  # after napoleon
