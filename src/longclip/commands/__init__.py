"""The command line: a thin coat over the Python API, one file per command."""

import sys
import warnings

from cyclopts import App

import longclip

_HELP = """Any CLIP in, a stock CLIP with long text out.

Wherever a model is named, `nano` is the one that comes with longclip; wherever data is named,
`scenes` is the embedded set.
"""

_EXAMPLES = """
Examples:

    longclip demo
    longclip tokenize "A lighthouse at dusk. A red boat waits below it."
    longclip stretch nano runs/nano-248
    longclip train --recipe paper --model nano --data scenes --out runs/paper --steps 100
    longclip eval runs/paper/model --data scenes/test --json runs/paper/eval.json
"""

app = App(name="longclip", help=_HELP, help_epilogue=_EXAMPLES, version=longclip.__version__)
_COMMANDS = {
    "demo": "Stretch, fine-tune and measure the bundled model, ending in a report with pictures.",
    "stretch": "Give a CLIP a longer position table, without training.",
    "train": "Pre-train or fine-tune a CLIP by a recipe.",
    "eval": "Measure a model: long and short retrieval and zero-shot classification.",
    "tokenize": "Show a text as CLIP reads it: ids, count, what is cut off.",
}
for _name, _summary in _COMMANDS.items():
    app.command(f"longclip.commands.{_name}:{_name}_command", name=_name, help=_summary)


def main() -> None:
    """Run the command line; the exit code is 0, 1 for failures, 2 for wrong usage, 130 for ^C."""
    warnings.showwarning = _show_warning
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; say nothing more.
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if not _is_message(error):
            raise
        print(f"longclip: error: {error}", file=sys.stderr)
        sys.exit(1)


def _is_message(error: Exception) -> bool:
    """Whether an error speaks to the user; anything else is a bug and keeps its traceback."""
    from longclip.training.loop import TrainingError

    return isinstance(error, ValueError | OSError | TrainingError)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"longclip: warning: {message}", file=sys.stderr)
