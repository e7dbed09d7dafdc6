"""The base of all errors that a user can see, and the errors that several packages raise.

Each package has an `errors.py` of its own: a class where something catches it, else a function or the base class.

Exit statuses: 1 a build or a check failed, 2 the user's input is wrong, 3 the machine lacks something.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from rootfs.mask import masked


@dataclass(frozen=True)
class RecipeValue:
    """A value of a recipe that an error is about, and the keys that it may be below, the likeliest first.

    `beside` is the key that is at fault, where it is another one of the same mapping.
    """

    value: str
    keys: tuple[str, ...]
    beside: str = ""


class BaseforgeError(Exception):
    """An error that a user can do something about. Printed as a few lines, never as a traceback.

    `message` is one sentence; `where` is `file:line:column`, a step or an address; `hint` says what to do; `output` is
    the end of what the failing program printed. Names and passwords of addresses are masked in all of them, and bytes
    that are no UTF-8, as in names of files, are escaped: logs, records and Prefect's server take only text.
    Where a value of a recipe is at fault, `about` says which: the caller, who knows the recipe's file, sets `where`.
    `transient` errors may pass by themselves: the same build can go well later, although nobody changes anything.
    """

    status = 1
    transient = False
    about: RecipeValue | None = None

    def __init__(
        self, message: str, *, where: str = "", hint: str = "", output: str = "", about: RecipeValue | None = None
    ) -> None:
        self.about = about
        self.message, self.where, self.hint, self.output = map(_text, (message, where, hint, output))
        super().__init__(self.message)

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        tail = "".join(f"\n  | {line}" for line in self.output.strip().splitlines()[-20:])
        return head + tail + (f"\n  {self.hint}" if self.hint else "")

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are rebuilt from `args` when pickled (Prefect does); ours have keywords.
        return (_empty, (type(self), self.message), vars(self))

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON data, for `error_from`."""
        texts = {key: getattr(self, key) for key in ("message", "where", "hint", "output")}
        about = astuple(self.about) if self.about else None
        return {**texts, "status": self.status, "transient": self.transient, "about": about}


def _text(text: str) -> str:
    return masked(text).encode(errors="backslashreplace").decode()


def _empty(kind: type[BaseforgeError], message: str) -> BaseforgeError:
    return kind.__new__(kind, message)


class BuildError(BaseforgeError):
    """A build or a check failed."""


class InputError(BaseforgeError):
    """What the user wrote (a recipe, an option, a setting) is wrong."""

    status = 2


class MachineError(BaseforgeError):
    """The machine lacks something, or something on it does not answer."""

    status = 3
    transient = True


def error_from(data: Mapping[str, Any]) -> BaseforgeError:
    """An error that was written as `as_dict`. Of its class only the exit status, and whether it may pass, is known."""
    kind = next(kind for kind in (BuildError, InputError, MachineError) if kind.status == data["status"])
    error = kind(data["message"], where=data["where"], hint=data["hint"], output=data["output"])
    error.transient = bool(data.get("transient"))
    if about := data.get("about"):
        value, keys, beside = about
        error.about = RecipeValue(value, tuple(keys), beside)
    return error


class NetworkFailure(BuildError):
    """Something on the network did not answer as it should: the only kind of error that trying again can help."""

    transient = True


class ServiceUnreachable(NetworkFailure, MachineError):
    """A server that the site has chosen does not answer, such as its store: not a build that failed."""


# How alike two words are, as difflib measures it, where one can be a typing error of the other. Words that are less
# alike only confuse.
SIMILAR, AMONG_MANY = 0.65, 0.8
SHORTEST_START = 3  # letters of a word that is the beginning of another


def nearest(word: str, known: Iterable[str], similar: float = SIMILAR) -> str:
    """`Did you mean …?` with the nearest known word, whatever its case, or an empty string when none is near.

    Near are typing errors, and the beginning of a longer name. Among thousands of names only a very `similar` one is.
    """
    by_lower, word = {name.lower(): name for name in known}, word.lower()
    close = difflib.get_close_matches(word, by_lower, n=1, cutoff=similar)
    longer = (name for name in by_lower if len(word) >= SHORTEST_START and name.startswith(word))
    match = close[0] if close else min(longer, key=len, default="")
    return f"Did you mean {by_lower[match]!r}?" if match else ""


# Where names and passwords for archives go, as a hint.
PUT_CREDENTIALS = (
    "Put name and password into /etc/apt/auth.conf.d/NAME.conf (apt_auth.conf(5)), or into a file of that form that the"
    " setting `auth` names."
)


class BlobMissing(BuildError):
    """The store does not have a blob."""

    def __init__(self, address: str, digest: str) -> None:
        super().__init__(
            f"there is no blob {digest}",
            where=address,
            hint="Check that this is the store it was kept in; `baseforge build IMAGE` makes what an image lacks anew.",
        )


class BlobDamaged(BuildError):
    """The store's content of a blob does not have its digest."""

    def __init__(self, address: str, digest: str, found: str) -> None:
        super().__init__(
            f"blob {digest} is damaged: the store has {found}",
            where=address,
            hint="`baseforge build IMAGE --force` puts a good one in its place; check the disk under the store.",
        )


class RecipeInvalid(InputError):
    """A recipe cannot be read or says what no recipe can; `problems` are (file:line:column, sentence), at least one."""

    SHOWN = 10
    problems: tuple[tuple[str, str], ...] = ()

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple((masked(place), masked(sentence)) for place, sentence in problems)
        (where, what), *others = self.problems
        more = [f"{place}: {sentence}" for place, sentence in others[: self.SHOWN - 1]]
        rest = (
            [f"… and {len(problems) - self.SHOWN} more: `baseforge validate --json` has all"]
            if len(problems) > self.SHOWN
            else []
        )
        super().__init__("\n".join([what, *more, *rest]), where=where)
