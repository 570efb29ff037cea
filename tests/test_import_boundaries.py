"""What may import what: the runtime runs where neither PyTorch nor the onnx package is installed."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FORBIDDEN = {
    "torch": "NumPy and ONNX Runtime",
    "onnx": "arseg_edge.onnx_bytes",
    "onnxscript": "arseg_edge.onnx_bytes",
    "safetensors": "the bundle",
}
PACKAGE = "arseg_edge"


def origin(module: str) -> Path | None:
    """Return the file of a module of this package; None for what is no module (a function, say)."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the modules that a file names in imports, also those inside functions, with the line."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: import absolutely"
            assert node.module is not None
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def reachable(*roots: str) -> dict[str, Path]:
    """Return the files of this package that the modules import, at the top or anywhere inside."""
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        path = origin(module)
        if module in found or path is None or path.suffix != ".py":
            continue
        found[module] = path
        waiting += [name for name, _ in imported(path) if name.split(".")[0] == PACKAGE]
    return found


def runtime_modules() -> list[str]:
    folder = origin(f"{PACKAGE}.runtime")
    assert folder is not None
    files = folder.parent.rglob("*.py")
    names = (file.relative_to(folder.parent).with_suffix("").parts for file in files)
    return sorted(".".join((PACKAGE, "runtime", *name)).removesuffix(".__init__") for name in names)


def test_walk_sees_the_whole_runtime() -> None:
    expected = {f"{PACKAGE}.{name}" for name in ("runtime.segmenter", "bundle", "errors", "manifest", "operators")}
    assert expected <= reachable(*runtime_modules()).keys()
    assert len(runtime_modules()) > 15


def test_runtime_and_all_that_it_imports_keep_away_from_pytorch_and_onnx() -> None:
    problems = [
        f"{path}:{line}: imports {name}: below runtime/, use {FORBIDDEN[name.split('.')[0]]} instead"
        for path in reachable(*runtime_modules()).values()
        for name, line in imported(path)
        if name.split(".")[0] in FORBIDDEN
    ]
    assert not problems, "\n".join(problems)


def test_runtime_never_reaches_the_export_side() -> None:
    other_side = (f"{PACKAGE}.export", f"{PACKAGE}.training")
    beyond = [name for name in reachable(*runtime_modules()) if name.startswith(other_side)]
    assert not beyond, f"{beyond}: the two sides meet only through a bundle: move what both need into {PACKAGE}"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_runtime_imports_where_they_are_not_installed() -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(FORBIDDEN)!r}))  # None: as if not installed
for module in {runtime_modules()!r}:
    __import__(module)
import arseg_edge
with arseg_edge.load({str(Path(__file__).parent / "data" / "tiny.arseg")!r}, providers="cpu") as segmenter:
    import numpy
    print(segmenter.step(numpy.zeros((64, 96, 3), numpy.uint8), keyframe=True).labels.shape)
"""
    assert run_python(code) == "(64, 96)"


def loaded_by(module: str) -> set[str]:
    heavy = ["torch", "onnx", "onnxscript", "safetensors", "onnxruntime", "av", "cv2"]
    return set(run_python(f"import sys, {module}; print(*(m for m in {heavy!r} if m in sys.modules))").split())


def test_package_itself_loads_nothing_heavy() -> None:
    assert loaded_by("arseg_edge") == set()


def test_command_line_loads_neither_pytorch_nor_onnx() -> None:
    assert not loaded_by("arseg_edge.cli") & set(FORBIDDEN)


def test_tests_that_need_pytorch_or_onnx_are_where_they_are_expected() -> None:
    tests = Path(__file__).parent
    allowed = ("export", "native", "training", "data")
    others = [path for path in tests.rglob("*.py") if path.relative_to(tests).parts[0] not in allowed]
    assert Path(__file__) in others
    wrong = {
        str(path.relative_to(tests)): name
        for path in others
        for name, _ in imported(path)
        if name.split(".")[0] in FORBIDDEN or name.startswith(f"{PACKAGE}.export")
    }
    assert not wrong, f"{wrong}: tests outside {allowed} run where neither is installed"
