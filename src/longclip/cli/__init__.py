"""Command line: a thin layer over the Python API, one file per command.

The module of a command is imported when it is named, and imports what is heavy when it runs: help
and errors in usage must come at once.
"""

import atexit
import os
import signal
import sys
import traceback
import warnings
from inspect import cleandoc
from pkgutil import get_data
from types import FrameType

from cyclopts import App, Group, Parameter

import longclip
from longclip.cli.options import (
    check_words,
    in_new_spelling,
    interrupts,
    usage_message,
    write_any_character,
)
from longclip.errors import LongCLIPError

_HELP = """Lengthen the text side of a CLIP, fine-tune it, measure it and use it.

A model is a directory, a checkpoint file, a name on the Hugging Face hub, one of the short names
that `longclip models` lists, or `nano`, a small model that comes with longclip. Data is a file, a
folder, a name on the hub, or `scenes`, drawings that come with longclip. `longclip COMMAND --help`
lists the options of a command. `--debug`, or LONGCLIP_DEBUG=1 in the environment, shows the
traceback of every error.
"""

_EXAMPLES = """
Examples:

    longclip demo
    longclip tokenize "A lighthouse at dusk. A red boat waits below it."
    longclip stretch nano runs/nano-248
    longclip train --recipe paper --model nano --data scenes --out runs/paper --steps 100
    longclip average runs/paper/model nano runs/averaged --share 0.5
    longclip runs --plot runs/curves.html
    longclip eval runs/paper/model --data scenes/test --results runs/paper/eval.json
    longclip eval nano --data scenes/test --results runs/nano.json
    longclip compare runs/nano.json runs/paper/eval.json
    longclip benchmarks urban1k
    longclip reproduce paper --root datasets --plan
    longclip convert runs/paper/model runs/paper-openclip --to openclip
    longclip inspect runs/paper/model
    longclip models LongCLIP-L
    longclip index photos --db photos.db
    longclip search "A lighthouse at dusk. A red boat waits below it." --db photos.db
    longclip serve --db photos.db
    longclip prompt "A lighthouse at dusk. A (red boat:1.3) waits below it."
    longclip generate "A lighthouse at dusk. …" --model PIPELINE --compare --out lighthouse.png
"""

_BUG = """\
This is a bug in longclip. Please report it with the lines above, the command, and what
`longclip --version` prints.
"""

_GROUPS: dict[str, tuple[str, ...]] = {
    "Make a model": ("train", "stretch", "average", "convert"),
    "Measure": ("eval", "compare", "benchmarks", "reproduce", "runs"),
    "Search": ("index", "search", "serve"),
    "Generate": ("generate", "prompt"),
    "Helpers": ("demo", "models", "inspect", "tokenize"),
}
"""Commands, each `NAME_command` of the module `longclip.cli.NAME`, by the titles of the help."""


def _help_of(command: str) -> str:
    """Read the help of a command from its source: the module is imported when it is run."""
    source = (get_data(__name__, f"{command}.py") or b"").decode("utf-8")
    function = source.partition(f"def {command}_command(")[2]
    docstring = cleandoc(function.split('"""', 2)[1])
    return docstring.partition("\n\nParameters\n")[0]


app = App(
    name="longclip",
    help=_HELP,
    help_epilogue=_EXAMPLES,
    version=longclip.__version__,
    # A switch that is off by default needs no option to turn it off.
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # `main` says what it ended, and how to go on
    config=check_words,
    error_formatter=usage_message,
)
for _title, _names in _GROUPS.items():
    _group = Group.create_ordered(_title)
    for _place, _name in enumerate(_names):
        app.command(
            f"{__name__}.{_name}:{_name}_command",
            name=_name,
            group=_group,
            sort_key=_place,
            help=_help_of(_name),
            help_epilogue="",  # without one of its own each would show the examples of all
        )
app.register_install_completion_command()


def main() -> None:
    """Run the command line.

    The exit code is 0, 1 for failures, 2 for wrong usage, 75 for a run that was asked to stop and
    can be resumed, 130 for ^C. Errors that speak to the user are one line; anything else is a bug
    and keeps its traceback. `--debug`, or LONGCLIP_DEBUG=1, shows every traceback.
    """
    warnings.showwarning = _show_warning
    write_any_character()
    debug = os.environ.get("LONGCLIP_DEBUG", "") not in ("", "0")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    if "--debug" in words[:end]:
        words.remove("--debug")
        debug = True
    sys.argv[1:], renamed = in_new_spelling(words)
    for line in renamed:
        _show_warning(line)
    # What a shell starts in the background ignores ^C, and is to go on ignoring it.
    before = signal.getsignal(signal.SIGINT)
    interrupts.clear()
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except KeyboardInterrupt as stopped:
        says = "; ".join(
            [*map(str, stopped.args or ["stopped"]), *getattr(stopped, "__notes__", ())]
        )
        if os.environ.get("RANK", "0") == "0":  # under torchrun all processes stop
            sys.stderr.write(f"longclip: {says}\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; say nothing more.
        sys.stderr.close()
        sys.exit(1)
    except (LongCLIPError, OSError) as error:
        if debug:
            traceback.print_exc()
        # In one piece: under torchrun all processes may say it at once.
        sys.stderr.write(f"longclip: error: {error}\n")
        sys.exit(getattr(error, "exit_code", 1))
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "torch" and not debug:
            # It was left out on purpose: pip installs it with longclip.
            sys.stderr.write(
                "longclip: error: this command needs torch, which is not installed: pip install "
                "torch\n"
            )
            sys.exit(1)
        error.add_note(_BUG)
        raise
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)
            # All is done: what libraries clean up when Python ends is no place for a traceback.
            # Registered last, it runs first.
            atexit.unregister(_end_at_once)
            atexit.register(_end_at_once)


def _end_at_once() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # The next one ends the process at once, also while this one is cleaned up after.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    interrupts.append(number)
    raise KeyboardInterrupt


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"longclip: warning: {message}", file=sys.stderr)
