"""Options of commands: shared types, overrides of a recipe, old spellings."""

import codecs
import dataclasses
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import Annotated, Any, TypeVar, cast, get_type_hints

from cyclopts import (
    App,
    ArgumentCollection,
    CoercionError,
    CycloptsError,
    CycloptsPanel,
    Group,
    Parameter,
    Token,
    UnusedCliTokensError,
)

from longclip.errors import UsageError

AsJson = Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")]
"""The switch `--json` of every command that has a result."""

_Options = TypeVar("_Options")

AS_OPTIONS = Parameter(name="*")
"""Makes every field of a dataclass an option: `options: Annotated[Config, AS_OPTIONS]`."""


interrupts: list[int] = []
"""Signals of ^C that came while this command runs."""


def stop_if_interrupted() -> None:
    """Raise KeyboardInterrupt where ^C came before and was lost.

    Modules written in C drop what is raised while they are imported, so it is asked for again
    once all is there and before a command begins what lasts.
    """
    if interrupts:
        raise KeyboardInterrupt


@contextmanager
def when_interrupted(remark: str) -> Iterator[None]:
    """Add to the line that ^C ends a command with what is kept, and how to go on."""
    stop_if_interrupted()
    try:
        yield
    except KeyboardInterrupt as stopped:
        stopped.add_note(remark)
        raise


def own_options_first(options: type[_Options]) -> type[_Options]:
    """Order the fields of a keyword-only dataclass: its own, then those it inherits.

    `--help` shows options in the order of fields, and dataclasses begin with inherited ones.
    """
    own = vars(options)["__annotations__"]
    ordered = sorted(dataclasses.fields(cast(Any, options)), key=lambda one: one.name not in own)
    cast(Any, options).__dataclass_fields__ = {one.name: one for one in ordered}
    return options


def overrides(starts: Mapping[str, Any], *, chosen: str, but: Sequence[str] = ()) -> type:
    """Return a dataclass of options that, left out, keep the value of a start.

    `--help` shows them in a panel for each group.

    Args:
        starts: configurations of one class by name.
        chosen: the one of them whose values the help says, with a star where they differ.
        but: fields that are no options.
    """
    [config] = {type(start) for start in starts.values()}
    types = get_type_hints(config, include_extras=True)
    options = []
    panels: dict[str | None, Group] = {None: Group.create_default_parameters()}
    for one in dataclasses.fields(config):
        if one.name in but:
            continue
        values = {_shown(getattr(start, one.name)) for start in starts.values()}
        default = _shown(getattr(starts[chosen], one.name))
        help = one.metadata["help"]
        if default or len(values) > 1:
            help += f" [{default or 'none'}{' *' * (len(values) > 1)}]"
        # The commands' switches have no negative, but here one may turn off what a recipe turns on.
        wanted: Any = types[one.name]
        negative = "--no-" + one.name.replace("_", "-") if wanted is bool else ()
        title = one.metadata["group"]
        if title not in panels:
            panels[title] = Group.create_ordered(title)
        parameter = Parameter(help=help, show_default=False, negative=negative, group=panels[title])
        annotation = Annotated[wanted | None, parameter]
        options.append((one.name, annotation, dataclasses.field(default=None)))
    made = dataclasses.make_dataclass("Overrides", options, frozen=True, kw_only=True)
    # make_dataclass puts it into the module `types`, and cyclopts takes classes of the standard
    # library for values, not for groups of options.
    made.__module__ = __name__
    return made


def given(options: Any) -> dict[str, Any]:
    """Return the fields of an `overrides` dataclass that the user has given."""
    return {name: value for name, value in vars(options).items() if value is not None}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(value) if isinstance(value, tuple) else str(value)


MAX_COLUMNS = 100
"""Characters in a line of text for people, on terminals wider than that."""


def paragraph(text: str, width: int, *, indent: int = 0, hanging: int = 9) -> str:
    """Return a text in lines of `width`, all but the first `hanging` characters further in."""
    return fill(
        text,
        max(width, 40),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )


def full_name(model: str) -> str:
    """Return the name on the hub of a model that is named by a short one, and say which it is.

    Raises:
        CheckpointError: if there can be no model of that name; before torch is imported.
    """
    from longclip.checkpoints import model_names

    model_names.check_model_name(model)
    full = model_names.full_name(model)
    if full != model and os.environ.get("RANK", "0") == "0":
        print(f"{model} is {full}", file=sys.stderr)
    return full


def say_choice(sentence: str) -> None:
    """Say on standard error what was chosen for the user."""
    print(f"note: {sentence}", file=sys.stderr)


def say_waiting(line: str) -> None:
    """Say on a terminal what a command does while it imports torch, which takes seconds."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


MAX_STDIN_CHARACTERS = 1_000_000
"""Characters of a text that is read from standard input: some hundred pages."""


def read_text(text: str) -> str:
    """Return the text of an argument, where `-` stands for standard input.

    Raises:
        UsageError: if there is no standard input, it is too long, or the text is not encoded as
            Python takes it to be.
    """
    place = "the text"
    try:
        if text == "-":
            place = "standard input"
            if sys.stdin is None or sys.stdin.closed:
                raise UsageError("there is no standard input to read `-` from; write the text")
            text = sys.stdin.read(MAX_STDIN_CHARACTERS + 1)
            if len(text) > MAX_STDIN_CHARACTERS:
                raise UsageError(
                    f"standard input has more than {MAX_STDIN_CHARACTERS:,} characters"
                )
        text.encode()  # Python may have read bytes that are no characters as surrogates
    except UnicodeError:
        raise UsageError(f"{place} is not in the encoding of this terminal; convert it") from None
    return text


def write_any_character() -> None:
    r"""Make standard output and error write what their encoding has not as `\uXXXX`.

    Within JSON these are what they stand for.
    """
    codecs.register_error("longclip-escape", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="longclip-escape")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    escaped = json.dumps(error.object[error.start : error.end])
    return escaped[1:-1], error.end


_WHOLE_NUMBER = re.compile(r"[+-]?\d+")
_LIKE_AN_OPTION = re.compile(r"--[A-Za-z][\w-]*(=.*)?|-[A-Za-z]", re.DOTALL)


def check_words(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse words of the command line that would be taken for something they do not say.

    These are an option that is mistyped where a text may stand, a fraction where a whole number is
    meant, which cyclopts rounds, and an empty word where a name is, which would be a path to the
    working directory.

    Raises:
        CoercionError: which ends the command as every wrong usage does.
    """
    words = sys.argv[1:]
    options_end = words.index("--") if "--" in words else len(words)
    for argument in arguments:
        for token in argument.tokens:
            name, value = token.keyword or argument.name, token.value
            if token.implicit_value is not Token().implicit_value:  # a switch
                continue
            if argument.parameter.allow_leading_hyphen:
                if _LIKE_AN_OPTION.fullmatch(value) and value in words[:options_end]:
                    other = f"{name}={value}" if token.keyword else f"-- {value}"
                    _refuse(token, f"{value} is no option here; if it is the text: {other}")
            elif not value.strip():
                _refuse(token, f"{name} is empty; leave it out or give it a value")
            elif argument.hint in (int, int | None) and not _WHOLE_NUMBER.fullmatch(value):
                _refuse(token, f"{name} is {value!r}, must be a whole number")


def _refuse(token: Token, message: str) -> None:
    # Without its keyword, which cyclopts would put before the message.
    raise CoercionError(msg=message, token=token.evolve(keyword=None))


def usage_message(error: CycloptsError) -> Any:
    """Return what is shown of a wrong command line."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens and error.command_chain:
        command, word = " ".join(error.command_chain), error.unused_tokens[0]
        return CycloptsPanel(
            f"{command} takes no {word!r} here; what it means is said by an option before it "
            f"(longclip {command} --help)"
        )
    return CycloptsPanel(error)


OLD_SPELLINGS: dict[tuple[str, str], tuple[str, ...]] = {
    ("train", "--precision"): ("--dtype",),
    ("eval", "--bfloat16"): ("--dtype", "bfloat16"),
    ("serve", "--bfloat16"): ("--dtype", "bfloat16"),
}
"""Options of the release before this one by command, and what they are called now.

Besides, `eval --json FILE` is now `--results FILE`, and `eval --json -` is `--json`; `index
--engine ray` is now `--ray`, and `--engine local` is what it does without.
"""


def in_new_spelling(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words of a command line in today's spelling, and a warning for each old one."""
    command, *rest = words or [""]
    new, warnings = [command], []
    while rest and rest[0] != "--":
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        now = OLD_SPELLINGS.get((command, name))
        if (command, name) == ("eval", "--json"):
            file = value or (rest[0] if rest else "")
            if file == "-" or file.endswith(".json"):
                now = ("--json",) if file == "-" else ("--results", file)
                rest = rest if equals else rest[1:]
                name, value, equals = f"--json {file}", "", ""
        if (command, name) == ("index", "--engine"):
            kind = value or (rest[0] if rest else "")
            if kind in ("ray", "local"):
                now = ("--ray",) if kind == "ray" else ()
                rest = rest if equals else rest[1:]
                name, value, equals = f"--engine {kind}", "", ""
        if now is None:
            new.append(word)
            continue
        new += [f"{now[0]}={value}"] if equals and len(now) == 1 else now
        today = " ".join(now) or "left out"
        warnings.append(f"{name} is now {today}; the old spelling goes with next release")
    return new + rest if words else [], warnings
