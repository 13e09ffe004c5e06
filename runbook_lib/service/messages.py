"""What people are told, in whose words.

A Jinja2 template an occasion, from the package or from the parameters.

A template is a text whose first line is the title. It may use the variables below and nothing else:
each is a text, some of them empty, and none holds a secret or data. What a template names and does
not exist is refused before a run begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

from runbook_lib.errors import UsageError
from runbook_lib.redact import redact

if TYPE_CHECKING:
    import jinja2

    from runbook_lib.surroundings import Notify

Occasion = Literal["planned", "start", "progress", "done", "failed", "rolled_back"]
"""What a message is about."""
OCCASIONS: tuple[Occasion, ...] = get_args(Occasion)
VARIABLES: Mapping[str, str] = {
    "environment": "the environment's name",
    "database": "the database's name",
    "run": "the run's id, under which everything is recorded",
    "reference": "what names the run to the commands: its id, or its folder where it does not lie "
    "in the default archive",
    "engineer": "who is responsible",
    "migrations": "the files that are applied",
    "happens": "what happens now",
    "true_now": "what is true now",
    "window": "the maintenance window, in its own zone and in UTC",
    "downtime": "the expected downtime by the forecast; of a run that is done, the measured one",
    "contact": "who to contact",
    "at": "when the message was sent, in the window's zone and in UTC",
    "severity": "of a failure: its number and name; else empty",
    "actions": "of a failure: what people do; else empty",
    "runbook": "of a failure: what the runbook itself does; else empty",
    "waited": "of a failure: for how long nobody has acknowledged it; else empty",
    "call": "of a failure: who is told now; else empty",
}
"""The variables of a template, and what each holds."""


@dataclass(frozen=True)
class Text:
    """A message in its final words.

    Args:
        problem: why the words are the package's and not the parameters'; empty where they are as
            they should be.
    """

    title: str
    body: str
    problem: str = ""


def check(template: str) -> None:
    """Whether a template can be rendered.

    Raises:
        ValueError: it is no Jinja2, or names what does not exist.
    """
    import jinja2
    from jinja2 import meta

    try:
        unknown = meta.find_undeclared_variables(_environment().parse(template)) - set(VARIABLES)
        if unknown:
            raise ValueError(
                f"unknown variables: {', '.join(sorted(unknown))}; there are {', '.join(VARIABLES)}"
            )
        for value in ("something", ""):
            _environment().from_string(template).render(dict.fromkeys(VARIABLES, value))
    except jinja2.TemplateError as error:
        raise ValueError(f"no template that can be rendered: {error.message}") from None
    except (TypeError, ArithmeticError, LookupError, AttributeError) as error:
        raise ValueError(f"no template that can be rendered: {type(error).__name__}") from None


def check_folder(notify: Notify) -> None:
    """Refuse a `notify.template_folder` that is not as it must be.

    Raises:
        UsageError: it cannot be read, holds a text for no occasion, or one that cannot be rendered.
    """
    if notify.template_folder is None:
        return
    remedy = (
        "its files are "
        + ", ".join(f"{name}.txt" for name in OCCASIONS)
        + "; the first line is the title"
    )
    if not notify.template_folder.is_dir():
        raise UsageError(
            f"`notify.template_folder` is no folder: {notify.template_folder.name}", remedy
        )
    for path in sorted(notify.template_folder.glob("*.txt")):
        try:
            if path.stem not in OCCASIONS:
                raise ValueError("there is no such occasion")
            for part in _parts(path.read_text(encoding="utf-8")):
                check(part)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"`notify.template_folder`, {path.name}: "
                f"{getattr(error, 'strerror', None) or error}",
                remedy,
            ) from None


def render(occasion: Occasion, notify: Notify, facts: Mapping[str, str]) -> Text:
    """A message in the words of the parameters, else in those of the package.

    A template that was spoilt since the run began does not keep a message back: the package's words
    are sent.

    Args:
        facts: the values of `VARIABLES`.
    """
    own, built_in = (
        notify.templates.get(occasion),
        _environment().get_template(f"{occasion}.txt").render(facts),
    )
    try:
        if own:
            return _text(_rendered(own.title, facts), _rendered(own.body, facts))
        folder = notify.template_folder
        if folder and ((path := folder / f"{occasion}.txt").exists() or not folder.is_dir()):
            return _text(
                *(_rendered(part, facts) for part in _parts(path.read_text(encoding="utf-8")))
            )
    except (OSError, ValueError) as error:
        return _text(
            *_parts(built_in),
            "the template of the parameters cannot be used: "
            f"{getattr(error, 'strerror', None) or error}",
        )
    return _text(*_parts(built_in))


def span(start: datetime, end: datetime) -> str:
    """A stretch of time in its own zone and in UTC, each end with the zone's name at that moment.

    Clocks are changed at night.
    """
    local = f"{start:%Y-%m-%d %H:%M %Z} – {_until(start, end)}"
    first, last = start.astimezone(UTC), end.astimezone(UTC)
    return f"{local} ({first:%Y-%m-%d %H:%M %Z} – {_until(first, last)})"


def both(moment: datetime, zone: tzinfo | None) -> str:
    """A moment in a zone and in UTC; in UTC alone where there is no zone."""
    utc = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M %Z}"
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z} ({utc})" if zone else utc


def _until(start: datetime, end: datetime) -> str:
    return f"{end:%H:%M %Z}" if end.date() == start.date() else f"{end:%Y-%m-%d %H:%M %Z}"


def _rendered(template: str, facts: Mapping[str, str]) -> str:
    check(template)
    return _environment().from_string(template).render(facts)


def _parts(text: str) -> tuple[str, str]:
    """Title and body of a template file.

    Raises:
        ValueError: one of them is missing.
    """
    title, _, body = text.strip().partition("\n")
    if not title.strip() or not body.strip():
        raise ValueError("a title in the first line and a body below it are needed")
    return title.strip(), body.strip()


def _text(title: str, body: str, problem: str = "") -> Text:
    return Text(redact(" ".join(title.split())), redact(body.strip()), problem)


@cache
def _environment() -> jinja2.Environment:
    """Plain text; a template reads its variables and reaches nothing else."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        loader=jinja2.PackageLoader("runbook_lib", "service/templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
