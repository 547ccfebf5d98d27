"""The form of a blind test: one HTML file that shows pictures by number and asks what they show."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from markupsafe import Markup

from captum_proto.report.templating import environment, source_of

#: A list of more names than this is not printed with the form.
MOST_PRINTED = 120


def form_digest(
    pictures: Sequence[bytes], question: str, names: Sequence[str], choices: Sequence[Sequence[str]] = ()
) -> str:
    """
    What a form is called: 12 hexadecimal digits, which follow from what it shows and from nothing else.

    Examples::

        >>> form_digest([b"one", b"two"], "What is it?", [])
        'd00bf16f1594'
    """
    digest = hashlib.sha256()
    offered = ["\n".join(each) for each in choices]
    for part in (question.encode(), *(name.encode() for name in [*names, *offered]), *pictures):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:12]


def render_form(
    pictures: Sequence[bytes],
    size: int,
    question: str,
    names: Sequence[str] = (),
    choices: Sequence[Sequence[str]] = (),
) -> str:
    """
    A form that needs nothing else: no network, no other file, and no JavaScript, without which it is a sheet to print.

    Nothing on it tells a picture's class, method or file: a picture is known by its place alone, and the names are in the order in which
    they are given.

    Args:
        pictures (sequence of bytes): JPEG files, in the order in which they are to be shown.
        size (int): The side of each in pixels.
        question (str): That is asked of each.
        names (sequence of str, optional): What may be chosen from; empty: people write what they like. Default: none
        choices (sequence of sequences of str, optional): What may be chosen from for each picture, to be ticked. Default: none, all names

    Returns:
        str: The whole file.
    """
    script, style = source_of("blind.js"), source_of("blind.css")
    return (
        environment()
        .get_template("blind.html")
        .render(
            form=form_digest(pictures, question, names, choices),
            question=question,
            pictures=[f"data:image/jpeg;base64,{base64.b64encode(content).decode()}" for content in pictures],
            size=size,
            names=[] if choices else names,
            choices=choices,
            names_printed=0 < len(names) <= MOST_PRINTED and not choices,
            style=Markup(style),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


__all__ = ["MOST_PRINTED", "form_digest", "render_form"]
