"""Errors of installing packages and the recipe's settings into a tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rootfs.errors import BuildError, InputError, MachineError, RecipeValue, nearest


def differs_from_lock(missing: list[str], surplus: list[str]) -> BuildError:
    """What is installed in a tree is not what its lock says."""
    parts = [
        f"{word}: {', '.join(names[:10])}" for word, names in (("missing", missing), ("not in it", surplus)) if names
    ]
    return BuildError(
        f"the tree is not what the lock says ({'; '.join(parts)})",
        hint="A script in `customise` must not install or remove packages: use `include` and `exclude`.",
    )


def bad_account(message: str, name: str) -> InputError:
    """A user or group of a recipe, of this name, cannot be in its tree."""
    about = RecipeValue(name, ("users", "groups"))
    return InputError(message, hint="Change `users` or `groups` in the recipe.", about=about)


def unknown_owner(name: str, kind: str, path: str, known: Iterable[str]) -> InputError:
    """A file of a recipe is to belong to a user or group that its tree does not have."""
    names = list(known)
    there = f"The image has: {', '.join(names)}." if names else f"The image has no {kind}s: write a number."
    return InputError(
        f"{path}: the image has no {kind} {name!r}, which is to own it",
        hint=" ".join(filter(None, (nearest(name, names), there))),
        about=RecipeValue(path, ("files",), beside="owner"),
    )


def no_such_id(uid: int, gid: int) -> MachineError:
    """This machine's user has no subordinate id for an owner."""
    return MachineError(
        f"a file is to belong to {uid}:{gid}, and this machine's user has no such subordinate id",
        hint="Build as root, or give the user more ids in /etc/subuid and /etc/subgid (subuid(5)).",
    )


def no_locale(locale: str, reason: str, known: Iterable[str] = ()) -> InputError:
    """The tree cannot have the recipe's locale; `known` are those that it can have."""
    use = "Use C.UTF-8, or a locale that the package has." if known else "Use C.UTF-8, or another locale."
    hint = " ".join(filter(None, (nearest(locale, known), use)))
    return InputError(f"locale {locale!r}: {reason}", hint=hint, about=RecipeValue(locale, ("locale",)))


def no_timezone(timezone: str, zones: Iterable[str], links: Mapping[str, str]) -> InputError:
    """The tree does not know the recipe's time zone. `links` are other names for those of its zones."""
    about = RecipeValue(timezone, ("timezone",))
    if timezone in links:
        return InputError(
            f"time zone {timezone!r} is in the package tzdata-legacy, which the image does not have",
            hint=f"Add `tzdata-legacy` to the packages, or write {links[timezone]!r}, which is the same.",
            about=about,
        )
    return InputError(
        f"the package tzdata of this suite has no time zone {timezone!r}",
        hint=nearest(timezone, [*zones, *links]) or "Write a name of the tz database, such as Europe/Berlin.",
        about=about,
    )
