"""Pickles read as data, within limits: nothing in them is run, and no size in them is believed.

A pickle is a program for a small machine with a stack. Python's own reader runs whatever it names,
and gives it memory as it asks: 20 bytes that store into place 4,000,000,000 of the memo take 32 GB.
This one knows the instructions that `torch.save` and TorchScript write, compares every length with
the bytes that there are, and makes nothing but numbers, texts, lists and dictionaries. What a
program would import is looked up by the caller, who gives a function for what he knows.
"""

import pickle
import struct
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

MAX_INSTRUCTIONS = 2_000_000
"""Instructions of one pickle; a checkpoint has about 60 a tensor, OpenAI's archives 40,000."""

_MAX_NUMBER_BYTES = 64
"""Bytes of the largest whole number; longer ones only cost time."""

_MAX_NAME_BYTES = 500
"""Bytes of the name of a module or class."""


class Known:
    """Function that a pickle may call, in the place of what it names."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function


class Opaque:
    """Stand-in for an object that is not made; its attributes are what the pickle says."""

    def __init__(self, *_: object) -> None:
        self.attributes: dict[Any, Any] = {}


class ForbiddenGlobalError(UnpicklingError):
    """The pickle names something that is not data; `name` says what."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it names {name}")
        self.name = name


def read_pickle(
    content: memoryview,
    start: int,
    find: Callable[[str, str], Any],
    persistent: Callable[[Any], Any],
) -> tuple[Any, int]:
    """Read one pickle.

    Args:
        content: that it lies in.
        start: where it begins.
        find: given a module and a name, returns a value, or a `Known` or the class `Opaque`, which
            the pickle may call; raises `ForbiddenGlobalError` for all else.
        persistent: given a persistent id, returns what it stands for.

    Returns:
        The object, and where the bytes behind the pickle begin.

    Raises:
        UnpicklingError: if it is broken, too large, or no plain data.
    """
    reader = _Reader(content, start, find, persistent)
    try:
        return reader.load(), reader.at
    except UnpicklingError:
        raise
    except IndexError:
        raise UnpicklingError("it takes more from its stack than it put there") from None
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        raise UnpicklingError(f"it makes no sense: {error}") from None


def check_key(key: object) -> None:
    """Refuse a key of a dictionary that is no plain value.

    To hash a tuple that holds the same tuple twice, and so on, takes for ever.
    """
    if not (key is None or isinstance(key, str | bytes | int | float | Opaque | Known)):
        raise UnpicklingError(f"a dictionary has a {type(key).__name__} as its key")


class _Reader:
    """Machine that reads one pickle."""

    def __init__(
        self,
        content: memoryview,
        start: int,
        find: Callable[[str, str], Any],
        persistent: Callable[[Any], Any],
    ) -> None:
        self.content, self.at = content, start
        self.find, self.persistent = find, persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        for _ in range(MAX_INSTRUCTIONS):
            instruction = self.take(1)
            if instruction == pickle.STOP:
                return self.stack.pop()
            run = _INSTRUCTIONS.get(instruction)
            if run is None:
                raise UnpicklingError(
                    f"it has the instruction {instruction!r}, which torch has not"
                )
            run(self)
        raise UnpicklingError(f"it has more than {MAX_INSTRUCTIONS:,} instructions")

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if count > len(self.content) - self.at:
            raise UnpicklingError(f"it asks for {count:,} bytes and is cut off before")
        self.at += count
        return bytes(self.content[self.at - count : self.at])

    def number(self, form: str) -> Any:
        """Return the next number in one of struct's forms."""
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return value

    def line(self) -> str:
        """Return the text up to the next end of line."""
        part = bytes(self.content[self.at : self.at + _MAX_NAME_BYTES])
        line, end, _ = part.partition(b"\n")
        if not end:
            raise UnpicklingError("it has a name without end")
        self.at += len(line) + 1
        return line.decode("utf-8")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def to_mark(self) -> list[Any]:
        """Return what was pushed since the last mark, and go back to what was there before."""
        items, self.stack = self.stack, self.marked.pop()
        return items

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        items = self.stack[-count:]
        del self.stack[-count:]
        self.push(tuple(items))

    def whole_number(self, form: str) -> None:
        count = self.number(form)
        if not 0 <= count <= _MAX_NUMBER_BYTES:
            raise UnpicklingError(f"it has a number of {count:,} bytes")
        self.push(int.from_bytes(self.take(count), "little", signed=True))

    def global_name(self, module: str, name: str) -> None:
        self.push(self.find(module, name))

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise UnpicklingError("it has a global whose name is no text")
        self.global_name(module[:_MAX_NAME_BYTES], name[:_MAX_NAME_BYTES])

    def call(self) -> None:
        """Call a function with a tuple (REDUCE), or make an object of a class (NEWOBJ)."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if function is Opaque:
            self.push(Opaque())
        elif isinstance(function, Known) and isinstance(arguments, tuple):
            self.push(function.function(*arguments))
        else:
            raise UnpicklingError("it calls something that is no function")

    def build(self) -> None:
        """Give an object its state; of what is no stand-in it is left out."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Opaque) and isinstance(state, dict):
            self.stack[-1].attributes = state

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        # Lists of a class of somebody's own are stand-ins, and so is what they hold.
        if not isinstance(target, list | Opaque):
            raise UnpicklingError("it appends to something that is no list")
        if isinstance(target, list):
            target.extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict | Opaque) or len(items) % 2:
            raise UnpicklingError("it puts entries into something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            check_key(key)
            if isinstance(target, dict):
                target[key] = value

    def new_dictionary(self) -> None:
        items = self.to_mark()
        self.push({})
        self.update(items)

    def pop_pair(self) -> list[Any]:
        value, key = self.stack.pop(), self.stack.pop()
        return [key, value]


def _text(form: str) -> Callable[[_Reader], None]:
    # Surrogates, which Python's writer lets through, are of no use in a name.
    return lambda r: r.push(r.take(r.number(form)).decode("utf-8", errors="replace"))


def _bytes(form: str) -> Callable[[_Reader], None]:
    return lambda r: r.push(r.take(r.number(form)))


def _old_text(form: str) -> Callable[[_Reader], None]:
    """Read a text of Python 2, which may be anything; names of tensors are ASCII."""
    return lambda r: r.push(r.take(max(0, r.number(form))).decode("latin-1"))


def _store(form: str) -> Callable[[_Reader], None]:
    def run(reader: _Reader) -> None:
        reader.memo[reader.number(form)] = reader.stack[-1]

    return run


def _memoize(reader: _Reader) -> None:
    reader.memo[len(reader.memo)] = reader.stack[-1]


_INSTRUCTIONS: dict[bytes, Callable[[_Reader], object]] = {
    pickle.PROTO: lambda r: r.take(1),
    pickle.FRAME: lambda r: r.take(8),
    pickle.MARK: _Reader.mark,
    pickle.POP: lambda r: r.stack.pop(),
    pickle.POP_MARK: _Reader.to_mark,
    pickle.DUP: lambda r: r.push(r.stack[-1]),
    pickle.NONE: lambda r: r.push(None),
    pickle.NEWTRUE: lambda r: r.push(True),
    pickle.NEWFALSE: lambda r: r.push(False),
    pickle.BININT: lambda r: r.push(r.number("<i")),
    pickle.BININT1: lambda r: r.push(r.number("<B")),
    pickle.BININT2: lambda r: r.push(r.number("<H")),
    pickle.LONG1: lambda r: r.whole_number("<B"),
    pickle.LONG4: lambda r: r.whole_number("<i"),
    pickle.BINFLOAT: lambda r: r.push(r.number(">d")),
    pickle.SHORT_BINUNICODE: _text("<B"),
    pickle.BINUNICODE: _text("<I"),
    pickle.BINUNICODE8: _text("<Q"),
    pickle.SHORT_BINBYTES: _bytes("<B"),
    pickle.BINBYTES: _bytes("<I"),
    pickle.BINBYTES8: _bytes("<Q"),
    pickle.BYTEARRAY8: _bytes("<Q"),
    pickle.SHORT_BINSTRING: _old_text("<B"),
    pickle.BINSTRING: _old_text("<i"),
    pickle.EMPTY_TUPLE: lambda r: r.push(()),
    pickle.TUPLE1: lambda r: r.tuple_of(1),
    pickle.TUPLE2: lambda r: r.tuple_of(2),
    pickle.TUPLE3: lambda r: r.tuple_of(3),
    pickle.TUPLE: lambda r: r.push(tuple(r.to_mark())),
    pickle.EMPTY_LIST: lambda r: r.push([]),
    pickle.LIST: lambda r: r.push(r.to_mark()),
    pickle.APPEND: lambda r: r.extend([r.stack.pop()]),
    pickle.APPENDS: lambda r: r.extend(r.to_mark()),
    # Sets stand beside tensors, never in them; their order and doubles do no harm.
    pickle.EMPTY_SET: lambda r: r.push([]),
    pickle.FROZENSET: lambda r: r.push(r.to_mark()),
    pickle.ADDITEMS: lambda r: r.extend(r.to_mark()),
    pickle.EMPTY_DICT: lambda r: r.push({}),
    pickle.DICT: _Reader.new_dictionary,
    pickle.SETITEM: lambda r: r.update(r.pop_pair()),
    pickle.SETITEMS: lambda r: r.update(r.to_mark()),
    pickle.GLOBAL: lambda r: r.global_name(r.line(), r.line()),
    pickle.STACK_GLOBAL: _Reader.stack_global,
    pickle.REDUCE: _Reader.call,
    pickle.NEWOBJ: _Reader.call,
    pickle.BUILD: _Reader.build,
    pickle.BINPERSID: lambda r: r.push(r.persistent(r.stack.pop())),
    pickle.MEMOIZE: _memoize,
    pickle.BINPUT: _store("<B"),
    pickle.LONG_BINPUT: _store("<I"),
    pickle.BINGET: lambda r: r.push(r.memo[r.number("<B")]),
    pickle.LONG_BINGET: lambda r: r.push(r.memo[r.number("<I")]),
}
