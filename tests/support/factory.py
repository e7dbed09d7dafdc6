"""Run the command line as a user does, in a site of its own, and find what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support import schemas

SHELF = Path(__file__).parents[2] / "recipes"
BASEFORGE = Path(sys.executable).with_name("baseforge")
LABEL = "baseforge.run"
SLOWEST_ANSWER = 60.0  # seconds
# With the first each command would compile all our modules, as it does for hardly any user; the second has a command of
# one test run alone, as it is not born as those of others were.
UNWANTED = {"PYTHONDONTWRITEBYTECODE", "PYTEST_CURRENT_TEST"}


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str
    words: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        """The one document on standard output, which must be as the command's schema says."""
        found = json.loads(self.stdout)
        if self.words:
            schemas.validate(schemas.schema_name(self.words), found)
        return found


@dataclass(frozen=True)
class Factory:
    """A site: its own recipes, store and work folder; data folder and Prefect server are the test session's."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def recipes(self) -> Path:
        return self.folder / "recipes"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def runs(self) -> Path:
        """Where the work folders of runs are."""
        return self.work / f"baseforge-{os.geteuid()}"

    @property
    def environment(self) -> dict[str, str]:
        self.work.mkdir(parents=True, exist_ok=True)  # the product does not make it
        own = {"STORE": str(self.folder / "store"), "WORK": str(self.work), "MEMORY": "", "WATCH_CRON": ""}
        own = {f"BASEFORGE_{name}": value for name, value in own.items()}
        mine = {name: value for name, value in os.environ.items() if name not in UNWANTED}
        return {**mine, **own, **self.settings}

    def recipe(self, name: str, text: str, **files: str) -> None:
        """Write a recipe, and files for its folder (`hello_c="…"` becomes hello.c)."""
        self.recipes.mkdir(exist_ok=True)
        (self.recipes / f"{name}.yaml").write_text(text)
        for file, content in files.items():
            (self.recipes / name).mkdir(exist_ok=True)
            (self.recipes / name / file.replace("_", ".")).write_text(content)

    def shelf(self, *names: str) -> None:
        """Copy recipes that come along."""
        for name in names:
            self.recipes.mkdir(exist_ok=True)
            shutil.copy(SHELF / f"{name}.yaml", self.recipes)
            if (SHELF / name).is_dir():
                shutil.copytree(SHELF / name, self.recipes / name)

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Start the command line; the recipes are this site's."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [BASEFORGE, *words],
            cwd=self.folder,
            env={**self.environment, **more.pop("env", {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **more,
        )

    def run(self, *words: str, timeout: float = 900, **more: Any) -> Done:
        """Run it to its end."""
        with self.start(*words, **more) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Done(process.returncode, stdout, stderr, words)

    def built(self, *images: str) -> list[dict[str, Any]]:
        """Build these, which has to go well; what the command says of them."""
        done = self.run("build", *images, "--json")
        assert done.status == 0, done.stderr
        found: list[dict[str, Any]] = done.json
        return found

    @property
    def api(self) -> Api:
        """The local Prefect server that runs, as its user sees it."""
        folder = self.folder / self.environment["BASEFORGE_HOME"] / "prefect"
        port = json.loads((folder / "server.json").read_text())["port"]
        return Api(f"http://127.0.0.1:{port}", (folder / "login").read_text().strip())

    @contextlib.contextmanager
    def served(self, said: list[str] | None = None, **more: Any) -> Iterator[subprocess.Popen[str]]:
        """`baseforge serve` from the moment that the runs of its deployments are scheduled; its lines go to `said`."""
        lines: list[str] = [] if said is None else said
        with self.start("serve", **more) as process:
            assert process.stderr
            while not (lines and lines[-1].startswith("nightly:")):
                line = process.stderr.readline()
                assert line, "".join(lines)
                lines.append(line)
            rest = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
            rest.start()
            try:
                yield process
            finally:
                process.kill()
                process.wait()
                rest.join(timeout=5)

    def builds(self) -> list[str]:
        """What the store has: `IMAGE@BUILD`."""
        return sorted(f"{path.parts[-3]}@{path.stem}" for path in self.folder.glob("store/images/*/builds/*.json"))

    def images(self) -> list[str]:
        """What the engine has: names, and ids of images that have none."""
        return sorted(_docker("images", "--all", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"))

    def remove_images(self) -> None:
        """Remove this site's images from the engine, by the names that it gave them: others may have the same ids."""
        prefix = self.settings["BASEFORGE_LOCAL_NAME"]
        if names := _docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"{prefix}/*"):
            _docker("rmi", *names)

    def leftovers(self) -> list[str]:
        """Whatever a run of this site may have left: work folders, mounts, processes, containers."""
        found = [*self.work.glob("*"), *self.runs.glob("*")] if self.work.is_dir() else []
        folders = [str(path) for path in found if path != self.runs]
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        mounts = [point for point in points if point.startswith(f"{self.work}/")]
        containers = _docker("ps", "--all", "--filter", f"label={LABEL}", "--format", "{{.Names}} {{.Labels}}")
        return folders + mounts + _processes(str(self.work)) + containers


def _docker(*words: str) -> list[str]:
    shown = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    return shown.stdout.splitlines()


def _processes(place: str) -> list[str]:
    """The command lines of processes that work below this place: by their arguments, temporary folder, cwd or root."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                said = [line, str((entry / "cwd").readlink()), str((entry / "root").readlink())]
                variables = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                said += [variable for variable in variables if variable.startswith("TMPDIR=")]
            except OSError:
                continue
            if any(f"{place}/" in text for text in said):
                found.append(line)
    return found


@dataclass(frozen=True)
class Api:
    """A Prefect server: the address of its pages, and the login."""

    pages: str
    login: str

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Its answer, once it has one: its database may be locked for a moment."""
        user, _, password = self.login.partition(":")
        until = time.monotonic() + SLOWEST_ANSWER
        while not (
            answer := httpx.request(
                method, f"{self.pages}/api/{path}", json=body, auth=httpx.BasicAuth(user, password), timeout=30
            )
        ).is_success:
            assert time.monotonic() < until, answer.text
            time.sleep(0.2)
        return answer.json()

    def refuses(self, path: str, body: object) -> str:
        """Why the server does not take an order."""
        user, _, password = self.login.partition(":")
        answer = httpx.post(f"{self.pages}/api/{path}", json=body, auth=httpx.BasicAuth(user, password), timeout=30)
        assert answer.is_client_error, answer.text
        return answer.text

    def recorded(self, run_id: str, steps: set[str]) -> bool:
        """Whether the server comes to know that these steps of a flow run were completed.

        A step is named whole or by its first word. The server writes down a task's states some seconds after the task.
        """
        until = time.monotonic() + SLOWEST_ANSWER
        while time.monotonic() < until:
            tasks = self.ask("POST", "task_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
            names = {task["name"] for task in tasks if task["state_type"] == "COMPLETED"}
            if steps <= names | {name.split()[0] for name in names}:
                return True
            time.sleep(0.2)
        return False
