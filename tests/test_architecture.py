"""The house rules that no linter knows: sizes, a torch-free start, the file tree in the README, nothing unsafe."""

import ast
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from napari_medaka_kd.settings import DistilSettings

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "napari_medaka_kd"
MODULES = sorted(PACKAGE.rglob("*.py"))

LINES_PER_FILE = 400
LINES_PER_FUNCTION = 40
PARAMETERS = 5

HEAVY = ("torch", "monai", "matplotlib.pyplot", "napari", "qtpy", "PyQt6", "PySide6")
LIGHT_ROOMS = ("volumes", "project", "review", "evaluate", "measure", "settings", "console", "cli", "exchange")
LIGHT_FILES = ("gui/samples", "gui/projects", "workflow/forecast")

Function: typing.TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def functions(path: Path) -> Iterator[Function]:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return (node for node in nodes if isinstance(node, Function))


def lines_of(function: Function) -> int:
    """From its ``def`` to its end, the docstring not counted."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    assert docstring.end_lineno is not None
    return lines - (docstring.end_lineno - docstring.lineno + 1)


def parameters_of(function: Function) -> int:
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def is_command(function: Function) -> bool:
    """Whether typer makes a subcommand of it: its parameters are the command's options."""
    decorators = [ast.unparse(decorator).split("(")[0] for decorator in function.decorator_list]
    return any(name.endswith((".command", ".callback")) for name in decorators)


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > LINES_PER_FILE} == {}


def test_every_file_says_in_its_first_line_what_it_is_for() -> None:
    texts = {name_of(path): path.read_text("utf-8") for path in MODULES}
    assert [name for name, text in texts.items() if text and not text.startswith('"""')] == []


def test_no_function_is_longer_than_forty_lines() -> None:
    found = {f"{name_of(path)}:{node.name}": lines_of(node) for path in MODULES for node in functions(path)}
    assert {name: lines for name, lines in found.items() if lines > LINES_PER_FUNCTION} == {}


def test_no_function_takes_more_than_five_parameters() -> None:
    found = {
        f"{name_of(path)}:{node.name}": parameters_of(node)
        for path in MODULES
        for node in functions(path)
        if not is_command(node)
    }
    assert {name: count for name, count in found.items() if count > PARAMETERS} == {}


def heavy_modules_after(code: str) -> str:
    """The modules of HEAVY that a fresh Python has loaded when ``code`` has run, as printed."""
    ask = f"{code}\nimport sys; sys.stderr.write('loaded ' + repr([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=100, check=False)
    return done.stderr


@pytest.mark.parametrize("room", [*LIGHT_ROOMS, *LIGHT_FILES])
def test_opening_reviewing_and_measuring_load_neither_torch_nor_qt(room: str) -> None:
    files = [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else sorted((PACKAGE / room).rglob("*.py"))
    assert files != []
    modules = [name_of(path).removesuffix(".py").replace("/", ".") for path in files]
    assert heavy_modules_after("; ".join(f"import napari_medaka_kd.{module}" for module in modules)) == "loaded []"


def test_help_loads_neither_torch_nor_qt() -> None:
    (command,) = entry_points(group="console_scripts", name="medaka-kd")
    code = f"""
import sys
from {command.module} import {command.attr} as main
sys.argv = ["medaka-kd", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    assert heavy_modules_after(code) == "loaded []"


def test_the_public_names_can_be_imported_from_the_package() -> None:
    code = (
        "import napari_medaka_kd as kd\nassert all(callable(getattr(kd, name)) for name in kd.__all__)\nkd.__version__"
    )
    assert heavy_modules_after(code) == "loaded []"


def test_every_strategy_has_its_settings_and_its_file() -> None:
    kinds = typing.get_args(DistilSettings.model_fields["strategy"].annotation) or (
        DistilSettings.model_fields["strategy"].annotation,
    )
    named = {kind.model_fields["name"].default for kind in kinds}
    files = {path.stem for path in (PACKAGE / "distil" / "strategies").glob("[!_]*.py")}
    assert named == files


# --- the file tree in the README


def files_shown(readme: str) -> dict[str, str]:
    """Path → phrase for each file of the fenced block after ``<!-- tree -->``."""
    block = re.search(r"<!-- tree -->\s*```\w*\n(.*?)```", readme, re.DOTALL)
    assert block is not None, "README.md shows no file tree after <!-- tree -->"
    folders: list[str] = []
    shown = {}
    for line in block[1].splitlines()[1:]:
        entry = re.match(r"(?P<branch>[│├└─ ]*)(?P<name>\S+)\s*(?P<phrase>.*)", line)
        if entry is None:
            continue
        depth = len(entry["branch"]) // 4
        del folders[depth - 1 :]
        if entry["name"].endswith("/"):
            folders.append(entry["name"])
        else:
            shown["".join(folders) + entry["name"]] = entry["phrase"]
    return shown


def test_the_readme_shows_every_file_with_a_phrase() -> None:
    shown = files_shown((ROOT / "README.md").read_text("utf-8"))
    real = {name_of(path) for path in (*MODULES, *PACKAGE.rglob("*.yaml")) if path.read_text("utf-8").strip()}
    assert {"missing": real - set(shown), "gone": set(shown) - real} == {"missing": set(), "gone": set()}
    assert [name for name, phrase in shown.items() if not phrase] == []


# --- nothing that runs what it reads, no thread whose failure nobody hears of

UNSAFE = {"torch.load", "yaml.load", "eval", "exec", "threading.Thread", "Thread", "os.system"}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
UNSAFE_ARGUMENTS = {"weights_only": False, "allow_pickle": True, "shell": True}


def unsafe_uses(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(func=called, keywords=keywords):
            if ast.unparse(called) == "torch.load" and "weights_only=True" in map(ast.unparse, keywords):
                return  # a closed set of types; networks/weights_file.py refuses a torch that has holes in it
            yield from {ast.unparse(called)} & UNSAFE
            given = {(word.arg, word.value.value) for word in keywords if isinstance(word.value, ast.Constant)}
            yield from (f"{name}={value}" for name, value in UNSAFE_ARGUMENTS.items() if (name, value) in given)
        case ast.Import(names=names):
            yield from {alias.name for alias in names} & UNSAFE_MODULES
        case ast.ImportFrom(module=str(module)):
            yield from {module} & UNSAFE_MODULES


def unsafe_lines(code: str) -> list[str]:
    nodes = ast.walk(ast.parse(code))
    return [f"line {getattr(node, 'lineno', 0)}: {use}" for node in nodes for use in unsafe_uses(node)]


def test_nothing_read_from_disk_is_ever_run() -> None:
    found = {name_of(path): unsafe_lines(path.read_text("utf-8")) for path in MODULES}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(file)",
        "torch.load(file, weights_only=safely)",
        "np.load(file, allow_pickle=True)",
        "threading.Thread(target=work)",
        "yaml.load(text)",
        "eval(text)",
    ],
)
def test_the_search_for_unsafe_code_finds_it(code: str) -> None:
    assert len(unsafe_lines(code)) == 1


def test_the_search_for_unsafe_code_lets_honest_code_pass() -> None:
    honest = "network.eval(); np.load(file, allow_pickle=False); yaml.safe_load(text)"
    assert unsafe_lines(f"{honest}; torch.load(file, weights_only=True)") == []


def test_the_dock_loads_no_torch_and_nothing_that_plots() -> None:
    code = "import sys, napari_medaka_kd.gui.dock; slow = [m for m in ('torch', 'monai', 'pyqtgraph', 'matplotlib', "
    code += "'scipy.ndimage', 'sklearn') if m in sys.modules]; assert slow == [], slow"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
