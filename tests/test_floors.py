"""The building's rules: who may import whom, how long a file may get, what a library never does."""

import ast
import resource
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "resing"

# Each room and its floor; a file imports only from lower floors or from its own room. A new file on the top
# level gets its floor here (and its line in docs/architecture.md), or is named after its room: voice_file.py.
FLOORS = {
    "config": 0,
    "cache": 1,
    "checkpoint": 1,
    "audio": 2,
    "hub": 2,
    "nets": 2,
    "features": 3,
    "separation": 3,
    "synthesis": 3,
    "pitch": 4,
    "voice": 4,
    "importers": 5,
    "scoring": 5,
    "conversion": 6,
    "song": 7,
    "training": 7,
    "server": 8,
    "cli": 9,
    "live": 9,
    "__init__": 10,
    "__main__": 10,
}
LODGERS = {"demo": "cli", "errors": "config", "whole": "config"}  # files that live in a room of another name
FACES = {"cli", "__main__"}  # may print and exit
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "base"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "exit",
    "logging.basicConfig",
    "np.random.seed",
    "os._exit",
    "pickle.load",
    "pickle.loads",
    "print",
    "quit",
    "random.seed",
    "sys.exit",
    "torch.manual_seed",
    "torch.set_num_threads",
}
HEAVY = {"av", "onnxruntime", "torch"}
SLOW_HELP_SECONDS = 0.8
LONGEST_FILE = 600
LONGEST_FUNCTION = 80
LARGEST_FIXTURE = 250 * 1024
LARGEST_VOICE = 6 * 2**20
LARGEST_WEIGHTS = 60 * 2**20

MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(p for folder in ("recipes", "benchmarks") for p in (REPOSITORY / folder).rglob("*.py"))


def named(path: Path) -> str:
    """Name a file in a test's id by its path in the repository."""
    return path.relative_to(REPOSITORY).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file once."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def room(path: Path) -> str:
    """Name the room a file of the package lies in: its folder on the top level, or its own."""
    return room_called(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))


def room_called(name: str) -> str:
    """Name the room of a folder or module on the top level, `voice` for `voice_file`."""
    if name in FLOORS:
        return name
    return LODGERS.get(name, name.split("_")[0])


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything a file imports, wherever in the file it does so."""
    package = ["resing", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = package[: len(package) - node.level + 1] if node.level else []
            source = [*source, *([node.module] if node.module else [])]
            for alias in node.names:
                yield node.lineno, ".".join([*source, alias.name])


def rooms_used(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and room of every import from the package itself; `resing.__version__` is free to all."""
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "resing" and parts[1:] != ["__version__"]:
            other = room_called(parts[1]) if len(parts) > 1 else "__init__"
            yield line, other if other in FLOORS else "__init__"


def dotted(node: ast.expr) -> str:
    """Write a name or a chain of attributes as in the source; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_file_imports_only_from_lower_floors(path: Path):
    own = room(path)
    assert own in FLOORS, f"{named(path)} has no floor yet: give it one in FLOORS"
    for line, other in rooms_used(path):
        assert own == other or FLOORS[other] < FLOORS[own], (
            f"{named(path)}:{line}: {own} (floor {FLOORS[own]}) imports {other} (floor {FLOORS[other]})"
        )


@pytest.mark.parametrize("path", sorted((PACKAGE / "nets").rglob("*.py")), ids=named)
def test_networks_need_torch_alone(path: Path):
    for line, name in imports(path):
        allowed = name.split(".")[0] in {"math", "torch"} or name.startswith("resing.nets.")
        assert allowed, f"{named(path)}:{line} imports {name}; networks import torch, math and each other"


@pytest.mark.parametrize("path", [PACKAGE / "config.py", PACKAGE / "errors.py"], ids=named)
def test_settings_and_errors_are_light(path: Path):
    for line, name in imports(path):
        root = name.split(".")[0]
        assert root in {"pydantic", "resing"} or root in sys.stdlib_module_names, (
            f"{named(path)}:{line} imports {name}; the command line loads this file for --help"
        )


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=named)
def test_files_and_functions_stay_short(path: Path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{named(path)} has {lines} lines, more than {LONGEST_FILE}: split it"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= LONGEST_FUNCTION, (
                f"{named(path)}:{node.lineno}: {node.name} has {length} lines, more than {LONGEST_FUNCTION}"
            )


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_is_named_after_what_it_holds(path: Path):
    assert set(path.relative_to(PACKAGE).with_suffix("").parts) & FORBIDDEN_NAMES == set()


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) not in FACES], ids=named)
def test_the_library_does_not_speak_exit_or_seed(path: Path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            assert name not in FORBIDDEN_CALLS, f"{named(path)}:{node.lineno} calls {name}"


def test_help_is_instant():
    seconds, modules = [], set()
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        shown = run("-X", "importtime", "-m", "resing", "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        modules |= {line.rsplit("|", 1)[-1].strip() for line in shown.stderr.splitlines()}
    assert "convert" in shown.stdout
    assert modules & HEAVY == set()
    assert min(seconds) < SLOW_HELP_SECONDS, f"--help took {seconds} seconds of processor time"


def test_importing_the_package_loads_nothing():
    shown = run("-X", "importtime", "-c", "import resing; resing.ResingError; print(resing.__version__)")
    modules = {line.rsplit("|", 1)[-1].strip() for line in shown.stderr.splitlines()}
    assert modules & (HEAVY | {"numpy", "pydantic", "resing.config"}) == set()
    assert shown.stdout.count(".") == 2


def test_every_public_name_is_there():
    import resing

    for name in resing.__all__:
        assert getattr(resing, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'sing'"):
        _ = resing.sing


def test_no_large_files_slip_in():
    for path in (REPOSITORY / "tests").rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert path.stat().st_size <= LARGEST_FIXTURE, f"{named(path)} is too large"
    weights = {p: p.stat().st_size for p in (PACKAGE / "weights").rglob("*") if p.is_file()}
    assert sum(weights.values()) <= LARGEST_WEIGHTS
    for path, size in weights.items():
        assert path.parent.name != "voices" or size <= LARGEST_VOICE, f"{named(path)} has {size} bytes"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python with arguments and return what it showed; a failure shows its last lines."""
    shown = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert shown.returncode == 0, shown.stderr[-2000:]
    return shown
