"""Pieces of HTML: escaped text, tables that scroll on a phone, figures that travel inside the page."""

import io
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

from matplotlib import rc_context
from matplotlib.figure import Figure

from distunlearn.report.drawing import SIZE

INCH = 100
"""Pixels of an inch of a figure at most, so that letters are of one size in all of them."""


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def bullets(lines: Iterable[str]) -> str:
    """A list of plain text."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def two_lines(text: str, under: str) -> str:
    """A cell's figure with what belongs beside it in small type below."""
    return f"{escape(text)}<small>{escape(under)}</small>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", *, words: bool = False) -> str:
    """A table; cells are HTML already, the head and the caption are plain text, the first column names the row.

    Cells hold figures and stand at the right, unless they hold `words`.
    """
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(f'<tr><th scope="row">{row[0]}</th>{"".join(_cell(cell) for cell in row[1:])}</tr>' for row in rows)
    under = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    kind = ' class="words"' if words else ""
    return f'<figure class="wide"><div class="scroll"><table{kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>{under}</figure>'


def _cell(cell: str) -> str:
    """A cell, or one that brings its own tag."""
    return cell if cell.startswith("<td") else f"<td>{cell}</td>"


def figure(drawn: Figure, title: str, caption: str) -> str:
    """A figure as SVG inside the page; its glyphs are outlines, so that it looks the same everywhere."""
    stream = io.StringIO()
    with rc_context({"svg.hashsalt": "distunlearn", "svg.fonttype": "path", "font.family": "DejaVu Sans"}):
        drawn.savefig(stream, format="svg", dpi=160, metadata={"Date": None, "Creator": "distunlearn"})
    source = b64encode(stream.getvalue().encode()).decode()
    width = f"max-width:{INCH * drawn.get_figwidth():.0f}px"
    image = f'<img style="{width}" alt="{escape(title)}. {escape(caption)}" src="data:image/svg+xml;base64,{source}">'
    kind = ' class="span"' if drawn.get_figwidth() > 1.5 * SIZE[0] else ""
    return f"<figure{kind}><h3>{escape(title)}</h3>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def grid(parts: Iterable[str]) -> str:
    """Figures side by side where there is room."""
    return f'<div class="grid">{"".join(parts)}</div>'


def beside(part: str, rest: str) -> str:
    """A figure with what belongs to it at its side, or below it where there is no room."""
    return f'<div class="grid">{part}<div class="rest">{rest}</div></div>'


def verdict(kind: str, eyebrow: str, head: str, text: str, *parts: str) -> str:
    """The box that a page begins with.

    Args:
        kind: good, middling, bad or unknown: its colour.
        eyebrow: of what it speaks, plain text, as the next two.
        head: the verdict.
        text: what it rests on.
        parts: HTML.
    """
    above = paragraph(eyebrow, "eyebrow") if eyebrow else ""
    return f'<div class="verdict {kind}">{above}<h2>{escape(head)}</h2>{paragraph(text)}{"".join(parts)}</div>'


def section(title: str, *parts: str) -> str:
    """A titled part of the page."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def folded(title: str, *parts: str, is_open: bool = False) -> str:
    """A part that is shown when asked for."""
    return f"<details{' open' * is_open}><summary>{escape(title)}</summary>{''.join(parts)}</details>"
