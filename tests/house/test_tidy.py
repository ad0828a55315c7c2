"""The house is in order: sizes, documentation, versions, and nothing of one machine in any file."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import matchengine

ROOT = Path(__file__).resolve().parents[2]

MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 800
#: What is allowed to be longer, and how long it is.  Entries may only shrink and go.
LONG_FUNCTIONS: dict[str, int] = {}

GENERATED = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")
#: Escaped so that this file does not find itself.
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:home|root|Users|work)/\w")
REGISTRY_HOST = re.compile(r"files\.pythonhosted|pypi\.org|index[-]url")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tracked_files() -> list[Path]:
    """What git keeps, as far as it is there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def sources(*folders: str) -> list[Path]:
    """Python files that people write, in these folders."""
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [path for path in found if not path.name.endswith(GENERATED)]


def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(syntax(path)) if isinstance(node, Function)]


def length(function: Function) -> int:
    """Lines of a function without its docstring."""
    total = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return total
    docstring = function.body[0]
    return total - (docstring.end_lineno - docstring.lineno + 1)


def name_of(path: Path, function: Function) -> str:
    return f"{path.relative_to(ROOT)}:{function.name}"


def lengths(*folders: str) -> dict[str, int]:
    """Length by name; of functions of one name in one file, the longest."""
    found: dict[str, int] = {}
    for path in sources(*folders):
        for function in functions(path):
            name = name_of(path, function)
            found[name] = max(found.get(name, 0), length(function))
    return found


def test_no_function_is_too_long() -> None:
    found = lengths("src", "tests", "benchmarks", "examples")
    assert {name: n for name, n in found.items() if n > MAX_FUNCTION_LINES} == LONG_FUNCTIONS


def test_functions_are_small_as_a_rule() -> None:
    found = sorted(lengths("src").values())
    assert statistics.median(found) <= 8
    assert found[len(found) * 9 // 10] <= 30


def test_no_file_is_too_long() -> None:
    found = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in sources("src", "tests", "benchmarks", "examples")
    }
    assert {name: n for name, n in found.items() if n > MAX_FILE_LINES} == {}


@pytest.mark.parametrize(
    "pattern", [pytest.param(MACHINE_PATH, id="machine-path"), pytest.param(REGISTRY_HOST, id="registry-host")]
)
def test_no_file_knows_a_machine(pattern: re.Pattern[str]) -> None:
    found = []
    for path in tracked_files():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []


@pytest.mark.parametrize(
    "line",
    ["open('/" + "root/x')", "cd /" + "work/main", "--index" + "-url=x", "https://files.python" + "hosted.org/x"],
)
def test_the_patterns_find_what_they_look_for(line: str) -> None:
    assert MACHINE_PATH.search(line) or REGISTRY_HOST.search(line)


def is_pause(node: ast.AST) -> bool:
    """A call of sleep; sleep(0) only lets others run."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called != "sleep":
        return False
    argument = node.args[0] if node.args else None
    return not (isinstance(argument, ast.Constant) and argument.value == 0)


def test_no_test_sleeps() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources("tests")
        if not {"engines", "examples", "integration", "interop"} & set(path.parts)  # they wait for processes
        for node in ast.walk(syntax(path))
        if is_pause(node)
    ]
    assert found == []


def test_every_module_says_what_it_is() -> None:
    found = [str(path.relative_to(ROOT)) for path in sources("src", "tests") if not ast.get_docstring(syntax(path))]
    assert found == []


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_there_is_one_version() -> None:
    assert matchengine.__version__ == version("matchengine") == project()["version"]


def normal(requirement: str) -> str:
    """A requirement's bare name, as registries compare names."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_every_dependency_is_pinned() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [
        *settings["build-system"]["requires"],
        *settings["project"]["dependencies"],
        *settings["project"]["optional-dependencies"]["uvloop"],
        *settings["dependency-groups"]["dev"],
    ]
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert {normal(name) for name in asked} <= {normal(pin) for pin in pins}
