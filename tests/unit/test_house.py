"""Rules for the code. Each is a function from a file to its violations, and a test shows that it can fail."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODULE_LINES = 400
FUNCTION_LINES = 40
DOOR = "rootfs/process/run.py"
LOCKS = "rootfs/system/locks.py"
ATOMIC = "rootfs/system/atomic_file.py"
DIGESTS = "rootfs/system/digests.py"
COMPRESSION = "rootfs/system/decompression.py"


@dataclass(frozen=True)
class Source:
    """One file: its path in the clone, and its text."""

    path: str
    text: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text)))

    @property
    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, module) of each import, wherever it stands; `from a import b` counts as `a.b`."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                yield from ((node.lineno, f"{base}.{name.name}") for name in node.names)


Rule = Callable[[Source], Iterator[str]]


def of(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def prefect_only_in_flows(source: Source) -> Iterator[str]:
    if re.fullmatch(r"flows/((orchestration|scheduled)/)?\w+\.py", source.path):
        return
    for line, module in source.imports:
        if of(module, "prefect"):
            yield f"{line}: imports {module}; only flows/*.py, flows/orchestration/ and flows/scheduled/ may"


def rootfs_knows_no_flows(source: Source) -> Iterator[str]:
    if not source.path.startswith("rootfs/"):
        return
    for line, module in source.imports:
        if of(module, "flows", "docker", "python_on_whales"):
            yield f"{line}: imports {module}; rootfs/ knows no flows and no Docker"


STARTERS = re.compile(r"os\.(system|popen|exec\w+|spawn\w+|posix_spawn\w*|fork|forkpty)|asyncio\.create_subprocess_\w+")


def programs_only_through_the_door(source: Source) -> Iterator[str]:
    if source.path == DOOR:
        return
    for line, module in source.imports:
        if of(module, "subprocess", "pty", "multiprocessing") or STARTERS.fullmatch(module):
            yield f"{line}: imports {module}; programs are started only through {DOOR}"
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and STARTERS.fullmatch(ast.unparse(node)):
            yield f"{node.lineno}: uses {ast.unparse(node)}; programs are started only through {DOOR}"


def locks_only_through_one_module(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and node.attr in ("flock", "lockf") and source.path != LOCKS:
            yield f"{node.lineno}: uses {ast.unparse(node)}; files are locked only through {LOCKS}"


RENAMES = re.compile(r"os\.(rename|renames|replace|link)|tempfile\.(mkstemp|mktemp)")


def files_are_replaced_only_through_one_module(source: Source) -> Iterator[str]:
    if source.path == ATOMIC:
        return
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and RENAMES.fullmatch(ast.unparse(node)):
            yield f"{node.lineno}: uses {ast.unparse(node)}; files are replaced only through {ATOMIC}"
        elif _renames_a_path(node):
            yield f"{node.lineno}: renames a file; files are replaced only through {ATOMIC}"


def _renames_a_path(node: ast.AST) -> bool:
    """Whether this is Path.rename or Path.replace; str.replace has two arguments, and others' are not of paths."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("rename", "replace")
        and len(node.args) == 1
        and not (node.keywords or isinstance(node.args[0], ast.Starred))
        and not RENAMES.match(ast.unparse(node.func))
    )


def digests_are_made_in_one_module(source: Source) -> Iterator[str]:
    """Hashing in pieces is free; one call that hashes bytes, or a value's canonical JSON, has its helper."""
    if source.path == DIGESTS:
        return
    for node in source.nodes:
        if (
            isinstance(node, ast.Attribute)
            and node.attr == "hexdigest"
            and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func).rpartition(".")[2] in ("sha256", "blake3")
        ):
            yield f"{node.lineno}: hashes bytes; {DIGESTS} has sha256_of_bytes, digest_of_bytes and canonical_digest"


DECOMPRESSORS = ("GzipFile", "BZ2Decompressor", "LZMADecompressor", "ZstdDecompressor", "decompressobj")


def streams_are_decompressed_in_one_module(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and node.attr in DECOMPRESSORS and source.path != COMPRESSION:
            yield f"{node.lineno}: uses {ast.unparse(node)}; compressed streams are opened only through {COMPRESSION}"


def state_is_passed(source: Source) -> Iterator[str]:
    """No context variables: a context is made where a command or a flow begins, and passed on."""
    for line, module in source.imports:
        if of(module, "contextvars"):
            yield f"{line}: imports {module}; state is passed, as in flows/runtime/context.py"
    for node in source.nodes:
        if isinstance(node, ast.Global):
            yield f"{node.lineno}: changes the global {', '.join(node.names)}; state is passed"


def steps_and_flows_take_a_context(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(each, ast.Call) and ast.unparse(each.func) in ("step", "flow") for each in node.decorator_list
        ):
            names = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
            if names[:1] != ["ctx"]:
                yield f"{node.lineno}: {node.name} is a step or a flow, and its first parameter is not `ctx`"


# In pieces, so that this file does not have them.
FORBIDDEN = re.compile(
    r"\b(" + "|".join(("men" + "d", "stands? " + "on", "what is " + "meant", "sha" + "ll")) + r")\b", re.I
)


def words_are_plain(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if found := FORBIDDEN.search(line):
            yield f"{number}: {found[0]!r}; write plain English (hint, base image, must)"


def modules_are_short(source: Source) -> Iterator[str]:
    lines = len(source.text.splitlines())
    if lines > MODULE_LINES:
        yield f"{lines} lines; past {MODULE_LINES} a module is two things"


def functions_are_short(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0
            if lines > FUNCTION_LINES:
                yield f"{node.lineno}: {node.name} has {lines} lines; past {FUNCTION_LINES} a function is two things"


def modules_say_what_they_are(source: Source) -> Iterator[str]:
    [module, *_] = source.nodes
    if not (isinstance(module, ast.Module) and ast.get_docstring(module)):
        yield "1: has no docstring"


OUTER = re.compile(r"\b(docker|buildx|registry|registries|prefect|smoke)\b", re.IGNORECASE)


def errors_of_rootfs_name_no_outer_system(source: Source) -> Iterator[str]:
    """Messages of rootfs/ are about trees and layers: it does not know where they are used."""
    if not source.path.startswith("rootfs/"):
        return
    for node in source.nodes:
        made = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Error", "__init__"))
        for each in ast.walk(node) if made else ():
            if isinstance(each, ast.Constant) and isinstance(each.value, str) and (found := OUTER.search(each.value)):
                yield f"{each.lineno}: an error of rootfs/ names {found[0]}"


HOSTS = re.compile(
    r"\b(?:[\w-]+\.)*(?:deb|security|archive|ports|snapshot|cdn-aws|https?|ftp|mirrors?|old-releases)\.(?:[a-z]{2}\.)?"
    r"(?:debian|ubuntu)\.(?:org|com|net)\b"
    r"|\b(?:index|registry|registry-1|auth|hub)\.docker\.(?:io|com)\b|\bdocker\.io/"
    r"|\b(?:ghcr|quay|gcr)\.io\b|\bmcr\.microsoft\.com\b|\bpublic\.ecr\.aws\b|\bregistry\.(?:k8s\.io|access\.redhat\.com)\b"
)


# The domain that a short image name is completed with, as engines do: part of a name, not an address that we ask.
COMPLETES_NAMES = {"flows/image/export.py"}


def no_host_is_written_down(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), 1):
        found = HOSTS.search(line)
        if found and not (found[0] == "docker.io/" and source.path in COMPLETES_NAMES):
            yield f"{number}: {found[0]} is the address of an archive or a registry; those are settings"


REMOVES_IMAGES = re.compile(r"""["'](?:rmi|image["'], ["']rm)["'], (?:["']--force["']|["']-f["'])""")


def images_are_removed_by_name(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if REMOVES_IMAGES.search(line):
            yield f"{number}: removes images whatever else they are called; Factory.remove_images takes names"


def files(*patterns: str) -> list[Source]:
    found = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return [
        Source(str(path.relative_to(ROOT)), path.read_text())
        for path in sorted(found)
        if "__pycache__" not in path.parts
    ]


CODE = files("flows/**/*.py", "rootfs/**/*.py")
DATA = files("rootfs/**/*.list", "recipes/**/*", "baseforge")

RULES: dict[Rule, list[Source]] = {
    prefect_only_in_flows: CODE,
    rootfs_knows_no_flows: CODE,
    programs_only_through_the_door: CODE,
    locks_only_through_one_module: CODE,
    files_are_replaced_only_through_one_module: CODE,
    digests_are_made_in_one_module: CODE,
    streams_are_decompressed_in_one_module: CODE,
    state_is_passed: CODE,
    steps_and_flows_take_a_context: CODE,
    words_are_plain: files("*.md", "*/*.md", "flows/**/*.py", "rootfs/**/*.py", "tests/**/*.py", "recipes/*.yaml"),
    modules_are_short: CODE,
    functions_are_short: CODE,
    modules_say_what_they_are: CODE,
    errors_of_rootfs_name_no_outer_system: CODE,
    no_host_is_written_down: CODE + DATA,
    images_are_removed_by_name: files("tests/**/*.py"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps(rule: Rule) -> None:
    assert RULES[rule], "nothing was looked at"
    broken = [f"{source.path}: {what}" for source in RULES[rule] for what in rule(source)]
    assert not broken, "\n".join(broken)


def error_classes() -> dict[str, str]:
    """The module of each class of an error, but for the few that only give an exit status."""
    classes = {
        (source.path, each.name): each for source in CODE for each in source.nodes if isinstance(each, ast.ClassDef)
    }
    bases = {node.name: [ast.unparse(each) for each in node.bases] for node in classes.values()}
    errors = {"BaseforgeError"}
    while more := {name for name, above in bases.items() if errors & {*above}} - errors:
        errors |= more
    return {name: module for (module, name) in classes if name in errors - STATUSES}


STATUSES = {"BaseforgeError", "BuildError", "InputError", "MachineError", "ServiceUnreachable"}


def test_each_class_of_an_error_is_caught_somewhere():
    """Where nothing needs to tell it from others, an error is raised as one of the classes for an exit status."""
    used = {
        name.id
        for source in CODE
        for node in source.nodes
        for each in told_apart(node)
        for name in ast.walk(each)
        if isinstance(name, ast.Name)
    }
    classes = error_classes()
    assert classes
    assert {name: module for name, module in classes.items() if name not in used} == {}


def told_apart(node: ast.AST) -> list[ast.expr]:
    """The expressions of a node that name classes which are told apart; a subclass counts as a use of its base."""
    if isinstance(node, ast.ExceptHandler):
        return [node.type] if node.type else []
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("isinstance", "suppress")):
        return list(node.args)
    if isinstance(node, ast.Assign):
        return [node.value] if isinstance(node.value, ast.Tuple) else []
    return list(node.bases) if isinstance(node, ast.ClassDef) else []


def lines(count: int) -> str:
    return "".join(f"    a{number} = {number}\n" for number in range(count))


BAD: list[tuple[Rule, str, str]] = [
    (prefect_only_in_flows, "flows/store/s3.py", "from prefect import task"),
    (prefect_only_in_flows, "flows/store/s3.py", "def late():\n    import prefect.client as client"),
    (prefect_only_in_flows, "rootfs/layer/pack.py", "import os, prefect"),
    (rootfs_knows_no_flows, "rootfs/layer/pack.py", "import flows.store.store"),
    (rootfs_knows_no_flows, "rootfs/scratch/bootstrapper.py", "from flows.store import base as store"),
    (rootfs_knows_no_flows, "rootfs/layer/pack.py", "from docker import DockerClient"),
    (programs_only_through_the_door, "flows/build.py", "import subprocess"),
    (programs_only_through_the_door, "rootfs/layer/pack.py", "from subprocess import run as go"),
    (programs_only_through_the_door, "rootfs/layer/pack.py", "import os\nos.system('true')"),
    (programs_only_through_the_door, "rootfs/layer/pack.py", "import os\nos.execvp('sh', ['sh'])"),
    (programs_only_through_the_door, "rootfs/layer/pack.py", "from os import posix_spawn"),
    (programs_only_through_the_door, "rootfs/layer/pack.py", "import os\nos.fork()"),
    (programs_only_through_the_door, "rootfs/layer/pack.py", "import asyncio\nasyncio.create_subprocess_exec('sh')"),
    (locks_only_through_one_module, "flows/build.py", "import fcntl\nfcntl.flock(1, fcntl.LOCK_EX)"),
    (files_are_replaced_only_through_one_module, "flows/build.py", "import os\nos.replace('a', 'b')"),
    (files_are_replaced_only_through_one_module, "flows/build.py", "import tempfile\ntempfile.mkstemp()"),
    (files_are_replaced_only_through_one_module, "flows/build.py", "path.with_suffix('.new').replace(path)"),
    (files_are_replaced_only_through_one_module, "flows/build.py", "path.rename(name)"),
    (digests_are_made_in_one_module, "flows/build.py", "import hashlib\nhashlib.sha256(data).hexdigest()"),
    (streams_are_decompressed_in_one_module, "flows/build.py", "import gzip\ngzip.GzipFile(fileobj=file)"),
    (state_is_passed, "flows/build.py", "from contextvars import ContextVar"),
    (state_is_passed, "rootfs/layer/pack.py", "import contextvars"),
    (state_is_passed, "flows/build.py", "count = 0\ndef f():\n    global count\n    count += 1"),
    (steps_and_flows_take_a_context, "flows/build.py", "@flow(name='build')\ndef build(image, ctx): ..."),
    (steps_and_flows_take_a_context, "flows/tasks.py", "@step('pack', network=True)\ndef pack(): ..."),
    (words_are_plain, "flows/build.py", "# a recipe {} be a file".format("sha" + "ll")),
    (words_are_plain, "README.md", "what an image {} on".format("stands")),
    (modules_are_short, "flows/build.py", lines(MODULE_LINES + 1)),
    (functions_are_short, "flows/build.py", f"def f():\n    'Says what.'\n{lines(FUNCTION_LINES + 1)}"),
    (functions_are_short, "flows/build.py", f"class A:\n  async def f(self):\n{lines(FUNCTION_LINES + 1)}"),
    (modules_say_what_they_are, "flows/build.py", "import os"),
    (errors_of_rootfs_name_no_outer_system, "rootfs/tree/errors.py", "raise BuildError(f'{a} is no Docker image')"),
    (errors_of_rootfs_name_no_outer_system, "rootfs/tree/errors.py", "super().__init__('a', hint='Ask Prefect.')"),
    (no_host_is_written_down, "recipes/noble.yaml", "mirror: http://archive.{}.com/ubuntu".format("ubuntu")),
    (no_host_is_written_down, "flows/build.py", "# see https://deb.{}.org/debian".format("debian")),
    (no_host_is_written_down, "flows/build.py", "A = 'ftp.de.{}.org'".format("debian")),
    (no_host_is_written_down, "flows/build.py", "A = '{}/library/x'".format("docker.io")),
    (no_host_is_written_down, "flows/build.py", "A = '{}.io/x/y'".format("ghcr")),
    (images_are_removed_by_name, "tests/engine/test_x.py", "docker('rmi', {}, *ids)".format("'--force'")),
    (images_are_removed_by_name, "tests/engine/test_x.py", "['image', 'rm', {}, one]".format("'-f'")),
]

GOOD: list[tuple[Rule, str, str]] = [
    (prefect_only_in_flows, "flows/build.py", "from prefect import flow"),
    (prefect_only_in_flows, "flows/store/s3.py", "import prefecture\nfrom flows.prefect import x"),
    (rootfs_knows_no_flows, "flows/build.py", "import flows.store.store"),
    (rootfs_knows_no_flows, "rootfs/layer/pack.py", "import rootfs.flows"),
    (programs_only_through_the_door, DOOR, "import subprocess"),
    (
        programs_only_through_the_door,
        "rootfs/layer/pack.py",
        "import os\nos.path.exists('/')\nfrom rootfs.process.run import run",
    ),
    (locks_only_through_one_module, LOCKS, "import fcntl\nfcntl.flock(1, fcntl.LOCK_EX)"),
    (files_are_replaced_only_through_one_module, ATOMIC, "import os\nos.replace('a', 'b')"),
    (files_are_replaced_only_through_one_module, "flows/build.py", "'text'.replace('a', 'b')\nmoment.replace(hour=1)"),
    (digests_are_made_in_one_module, "flows/build.py", "import hashlib\nseen = hashlib.sha256()\nseen.hexdigest()"),
    (streams_are_decompressed_in_one_module, COMPRESSION, "import gzip\ngzip.GzipFile(fileobj=file)"),
    (state_is_passed, "flows/build.py", "from prefect.context import FlowRunContext"),
    (steps_and_flows_take_a_context, "flows/tasks.py", "@step('pack')\ndef pack(ctx, *, layer): ..."),
    (words_are_plain, "README.md", "Recommendations for shallow folders stand here."),
    (modules_are_short, "flows/build.py", lines(MODULE_LINES)),
    (functions_are_short, "flows/build.py", f"def f():\n    '''Says\n{lines(30)}'''\n{lines(FUNCTION_LINES)}"),
    (functions_are_short, "flows/build.py", "def f():\n    'Says what.'"),
    (modules_say_what_they_are, "flows/build.py", "'What it is.'"),
    (
        no_host_is_written_down,
        "rootfs/tree/filters.py",
        "apt = ['docker.io']  # the package; Debian Policy, manpages.debian.org",
    ),
    (images_are_removed_by_name, "tests/engine/test_x.py", "docker('rmi', name)\ndocker('rm', '--force', name)"),
]


@pytest.mark.parametrize(("rule", "path", "text"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_each_rule_can_fail(rule: Rule, path: str, text: str) -> None:
    assert len(list(rule(Source(path, text)))) == 1


@pytest.mark.parametrize(("rule", "path", "text"), GOOD, ids=lambda value: getattr(value, "__name__", ""))
def test_each_rule_can_hold(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text))) == []
