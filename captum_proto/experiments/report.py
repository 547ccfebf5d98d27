"""The page of a folder that has none: of a run that was interrupted, or is older than pages are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from captum_proto._utils.errors import MissingFileError, NotAFolderError
from captum_proto._utils.files import intact
from captum_proto.experiments.agent import agent_page_of
from captum_proto.experiments.blind import blind_page
from captum_proto.experiments.circuit import circuit_page
from captum_proto.experiments.compare_groups import compared_page
from captum_proto.experiments.demo import demo_page
from captum_proto.experiments.describe import descriptions_page
from captum_proto.experiments.dictionary import dictionary_page
from captum_proto.experiments.dissect import dissected_page
from captum_proto.experiments.evaluation_page import evaluation_page
from captum_proto.experiments.examples import examples_page
from captum_proto.experiments.explain import explained_page
from captum_proto.experiments.generate import generation_page
from captum_proto.experiments.quality.page import compared_methods_page
from captum_proto.experiments.quality.pairs import quality_pairs_page_of
from captum_proto.experiments.reproduce.page import reproduced_page
from captum_proto.experiments.sanity_check import sanity_page
from captum_proto.experiments.sweep.tables import swept_page
from captum_proto.experiments.tabular_prototypes import tabular_prototypes_page
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.experiments.text_prototypes import text_prototypes_page
from captum_proto.experiments.trojans import trojans_page
from captum_proto.experiments.visualize import visualization_page
from captum_proto.report.html import write_page, write_report
from captum_proto.report.page import Page
from captum_proto.report.views import atlas  # noqa: F401  # a kind of block that pages may hold
from captum_proto.runs.folder import PAGE, RECORDED, SETTINGS, read_settings


def generated_page(folder: Path) -> Page:
    """The page of a folder of prototypes, of whatever kind of input."""
    kinds = {"tabular": tabular_prototypes_page, "text": text_prototypes_page}
    return kinds.get(read_settings(folder).get("input", "image"), generation_page)(folder)


#: By command: the page of a folder, from the files in it, of a run that is finished or not.
PAGES: dict[str, Callable[[Path], Page]] = {
    "generate": generated_page,
    "visualize": visualization_page,
    "evaluate": evaluation_page,
    "examples": examples_page,
    "compare-groups": compared_page,
    "quality": compared_methods_page,
    "quality-pairs": quality_pairs_page_of,
    "demo": demo_page,
    "sweep": swept_page,
    "reproduce": reproduced_page,
    "dictionary": dictionary_page,
    "dissect": dissected_page,
    "explain": explained_page,
    "describe": descriptions_page,
    "sanity-check": sanity_page,
    "circuit": circuit_page,
    "agent": agent_page_of,
    "blind": blind_page,
    "trojans": trojans_page,
}


def report_on(folder: Path) -> Path:
    """
    The HTML page of a folder of results, made from the description in it, or from the results themselves where there is none.

    Args:
        folder (Path): That a command wrote to.

    Returns:
        Path: The HTML file.

    Raises:
        FileNotFoundError: If there is no such folder, or nothing in it that a page could be made of.
        NotADirectoryError: If it is a file.
        ValueError: If the description is damaged, and the results do not tell either.
    """
    if not folder.exists():
        raise MissingFileError(f'there is no folder "{folder}"; give one that a captum-proto command wrote to.')
    if not folder.is_dir():
        raise NotAFolderError(f'"{folder}" is a file; give the folder that a captum-proto command wrote to.')
    if not (folder / PAGE).exists() and not (folder / SETTINGS).exists():
        raise MissingFileError(
            f'"{folder}" holds neither {PAGE} nor {SETTINGS}; give a folder that a captum-proto command wrote to.'
        )
    try:
        with intact(folder / PAGE, "page"):
            return write_report(folder)
    except (FileNotFoundError, ValueError):
        with intact(folder, "folder of results"):
            page = _page_of(folder)
            if page is None:
                raise
            return write_page(page, folder)


def _page_of(folder: Path) -> Page | None:
    """What the results in a folder tell, or None where nothing is known of the run that wrote them."""
    if not (folder / SETTINGS).exists():
        return None
    settings = read_settings(folder)
    command = settings.get("command", "")
    if command in PAGES:
        return PAGES[command](folder)
    return tasks_page(folder) if RECORDED in settings else None
