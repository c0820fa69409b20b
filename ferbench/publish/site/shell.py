"""Jinja2 as all pages of a site use it: names are text wherever they stand, and what is missing is an error."""

from __future__ import annotations

import functools
import json
import re
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ferbench.quantities import amount, counted, duration, figure, joined, percent, ranges, size, whole
from ferbench.version import VERSION

#: Characters that are not seen, or that turn the text behind them round.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")

#: Fraction digits of numbers that scripts sort by; no figure is known better.
_DIGITS = 6


class Shell:
    """Renders templates of `publish/site/templates`.

    title : the site's; a page's own stands before it in the browser's tab
    """

    def __init__(self, title: str) -> None:
        self._environment = _environment()
        self._title = title

    def render(self, template: str, root: str, **context: object) -> str:
        """A page, the same for the same context.

        root : from the page's folder to the site's, such as `../../`; empty in the site's own

        Raises
        ------
        jinja2.UndefinedError : a name that the template uses is not in the context
        """
        page = self._environment.get_template(template)
        return page.render(root=root, site_title=self._title, version=VERSION, **context)


def visible(text: str) -> str:
    """A text in which characters that cannot be seen, or that turn others round, stand as their code points."""
    return _UNSEEN.sub(lambda found: f"‹U+{ord(found[0]):04X}›", text)


def points(fraction: float, digits: int = 1) -> str:
    """A difference of fractions in points, always with its sign: 0.012 is +1.2."""
    text = f"{100 * fraction:+.{digits}f}"
    # A difference that rounds to nothing has no direction.
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"


def number(value: float | None) -> str:
    """A number as scripts read it, for data-value; empty for None."""
    return "" if value is None else json.dumps(round(value, _DIGITS))


def json_text(value: object) -> Markup:
    """JSON for a script element: no text in it can end the element, and keys are sorted."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))
    for letter in "<>&'":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def asset(name: str) -> str:
    """The text of a file of `publish/site/assets`."""
    return resources.files("ferbench.publish.site").joinpath("assets", name).read_text("utf-8")


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ferbench.publish.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters |= {
        **{"percent": percent, "points": points, "duration": duration, "amount": amount, "whole": whole},
        **{"counted": counted, "figure": figure, "joined": joined, "ranges": ranges, "size": size},
        **{"number": number, "tojson": json_text, "visible": visible},
    }
    return environment
