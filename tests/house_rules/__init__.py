"""The rules of the house as functions from source text to faults; `test_architecture.py` applies them to xai/.

A `place` is a path inside xai/ with slashes: "core/registry.py", "errors.py". A room is its first part: "core".
"""

import ast
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ORDER = (  # a line may import the lines before it
    ("errors", "stats"),
    ("core",),
    ("engine",),
    ("models", "datasets"),
    ("explanations", "robust", "uncertainty"),
    ("ood",),
    ("feature_probe", "method_catalogue", "diagnosis"),
    ("fairness",),
    ("plots",),
    ("audits",),
    ("reports",),
)


def _table() -> dict[str, Collection[str]]:
    table: dict[str, Collection[str]] = {}
    before: set[str] = set()
    for line in _ORDER:
        table |= dict.fromkeys(line, frozenset(before))
        before |= set(line)
    return table


MAY_IMPORT: dict[str, Collection[str]] = {
    **_table(),
    "stats": {"errors"},
    "lazy": (),
    **dict.fromkeys(
        ("__init__", "results"), frozenset({"lazy", "results", *(room for line in _ORDER for room in line)})
    ),
    **dict.fromkeys(("cli", "pytest_plugin", "dashboard"), frozenset({"__init__", "results"})),
}
MAY_IMPORT_LATE: dict[str, Collection[str]] = {  # inside a function only: what a result draws or writes
    "plots": {room for line in _ORDER for room in line},
    "datasets": {"core"},  # a path that names a data set
}
ON_TOP = frozenset(room for room, allowed in MAY_IMPORT.items() if "__init__" in allowed)

DASHBOARD = ("environment", "text", "session", "charts", "widgets", "pages", "server")  # each imports those before it
BY_NAME = frozenset({"text", "session", "charts", "widgets"})  # others import these folders, never a file of theirs

ONE_ROOM = {"matplotlib": "plots", "streamlit": "dashboard", "jinja2": "reports", "weasyprint": "reports"}
OPTIONAL = frozenset({"torchvision", "timm", "transformers", "huggingface_hub", "onnx", "onnxruntime", "keras", "h5py"})
LATE = frozenset({"captum"})  # takes a second to import, most of it for pyplot, and few verbs need it

NO_METHODS = frozenset(
    {f"explanations/methods/{name}.py" for name in ("base", "fills")}
    | {"audits/checks/base.py"}
    | {f"robust/attacks/{name}.py" for name in ("base", "result", "search", "training")}
    | {f"ood/detectors/{name}.py" for name in ("base", "passes", "reference")}
    | {f"fairness/shortcuts/probes/{name}.py" for name in ("base", "data_forms", "recurrence", "repetition")}
)  # public files of method rooms that register nothing
READS_WEIGHTS = "models/sandbox/weights.py"  # the one file that may call torch.load, with weights_only=True
TRUSTS = "models/trusted.py"  # the one file that runs what a file holds, for trust=True
TRUSTING = frozenset({"torch.load", "torch.jit.load", "torch.export.load"})
CODE_MODULES = frozenset({"pickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve"})
HARMLESS = frozenset({"pickle.UnpicklingError", "pickle.PicklingError", "pickle.PickleError"})
FORBIDDEN = {
    **dict.fromkeys(("eval", "exec", "builtins.eval", "builtins.exec"), "runs text as code"),
    **dict.fromkeys(("torch.jit.load", "torch.export.load", "torch.hub.load"), "runs code from a file"),
    **dict.fromkeys(("torch.package.PackageImporter", "torch.ops.load_library"), "runs code from a file"),
    **dict.fromkeys(("joblib.load", "pandas.read_pickle"), "unpickles"),
    **dict.fromkeys(("yaml.load", "yaml.full_load", "yaml.unsafe_load"), "builds any object"),
    **dict.fromkeys(("os.system", "os.popen"), "runs a shell"),
    "shutil.unpack_archive": "may write anywhere",
    **dict.fromkeys(("torch.hub.load_state_dict_from_url", "torch.utils.model_zoo.load_url"), "unpickles a download"),
    **dict.fromkeys(("keras.models.load_model", "keras.saving.load_model"), "is for the loader of Keras files"),
    **dict.fromkeys(
        ("keras.config.enable_unsafe_deserialization", "keras.src.saving.load_model"), "runs Lambda layers"
    ),
    "PIL.ImageFile.LOAD_TRUNCATED_IMAGES": "makes up the missing half of a picture",
    "ssl._create_unverified_context": "trusts anyone",
    "xml.etree.ElementTree.parse": "expands entities without end",
}
KERAS_READER = ("models/keras_trial.py", "keras.saving.load_model")  # with safe_mode=True, after its checks
MUST_BE_TRUE = frozenset({"weights_only", "safe_mode", "verify", "autoescape"})
_UNESCAPED = re.compile(r"\{\{[^}]*\|\s*safe\b")
NEVER_TRUE = frozenset({"allow_pickle", "trust_remote_code", "unsafe_allow_html", "shell", "use_local_extensions"})

MOST_LINES = 400
MOST_LINES_OF_FUNCTION = 70


@dataclass(frozen=True)
class Import:
    """One imported thing: its full dotted name, and whether it is only imported when a function runs."""

    line: int
    name: str
    late: bool


def sources(package: Path) -> Iterator[tuple[str, str]]:
    """Yield place and text of every Python file, sorted."""
    for path in sorted(package.rglob("*.py")):
        yield path.relative_to(package).as_posix(), path.read_text(encoding="utf-8")


def room_of(place: str) -> str:
    return place.split("/")[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> Iterator[Import]:
    """Yield every import, also under TYPE_CHECKING, inside functions, and by `import_module("...")`."""
    for node, late in _walk(tree, late=False):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from (Import(node.lineno, f"{start}.{alias.name}", late) for alias in node.names)
        elif isinstance(node, ast.Call) and _last(node.func) in {"import_module", "__import__"}:
            texts = (
                part.value for argument in node.args for part in ast.walk(argument) if isinstance(part, ast.Constant)
            )
            yield from (Import(node.lineno, text, late) for text in texts if isinstance(text, str))


def _walk(node: ast.AST, *, late: bool) -> Iterator[tuple[ast.AST, bool]]:
    yield node, late
    late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, late=late)


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def import_faults(place: str, text: str, public: Collection[str] = ()) -> list[str]:
    """Return the imports of xai's own rooms that the table does not allow; `public` are the names that xai offers."""
    here, tree = room_of(place), ast.parse(text)
    if here not in MAY_IMPORT:
        return [f"{place}: no rule for the room {here!r}, add it to MAY_IMPORT"]
    faults = []
    for found in imports_of(tree):
        if found.name.startswith("."):
            faults.append(f"{place}:{found.line}: write absolute imports")
            continue
        top, _, rest = found.name.partition(".")
        if top != "xai":
            continue
        there = _room_named(rest, public)
        late = found.late and here in MAY_IMPORT_LATE.get(there, ())
        if there != here and there not in MAY_IMPORT[here] and not late:
            faults.append(f"{place}:{found.line}: {here!r} may not import {there!r}")
    return faults + (_reached_through(place, tree, public) if here in ON_TOP else [])


def _room_named(rest: str, public: Collection[str]) -> str:
    """Return the room of `xai.rest`; xai itself and what it offers by name is the room "__init__"."""
    return "__init__" if rest in {"", "*", "__version__", *public} else rest.split(".")[0]


def _reached_through(place: str, tree: ast.AST, public: Collection[str]) -> list[str]:
    """Return the uses of `xai.something` that are no public names, under whatever name xai was imported."""
    aliases = {
        alias.asname or "xai"
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "xai"
    }
    return [
        f"{place}:{node.lineno}: xai.{node.attr} is no public name"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in aliases and node.attr not in {"__version__", *public}
    ]


def dashboard_faults(place: str, text: str) -> list[str]:
    """Return imports inside the dashboard that go upward, between pages, or to a file of another folder."""
    room, *inside = place.removesuffix(".py").split("/")
    if room != "dashboard" or inside[0] not in DASHBOARD:
        return []
    faults = []
    for found in imports_of(ast.parse(text)):
        there = found.name.split(".")[2:] if found.name.startswith("xai.dashboard.") else []
        if there and (fault := _layer_fault(inside, there)):
            faults.append(f"{place}:{found.line}: {fault}")
    return faults


def _layer_fault(inside: Sequence[str], there: Sequence[str]) -> str:
    """Say what is wrong with an import of `there` from `inside`, both below xai.dashboard; "" where nothing is."""
    here, layer = inside[0], there[0]
    if layer not in DASHBOARD:
        return f"{layer!r} has no place in DASHBOARD"
    if DASHBOARD.index(layer) > DASHBOARD.index(here):
        return f"{here!r} may not import {layer!r}"
    if here == layer == "pages" and len(there) < 2:
        return f"import a file of {layer!r}, not all of them"
    if here == layer == "pages" and inside[1] != there[1]:
        return f"the page {inside[1]!r} may not import the page {there[1]!r}"
    if here != layer and layer in BY_NAME and len(there) > 2:
        return f"import {layer!r}, not a file of it"
    return ""


def outside_faults(place: str, text: str) -> list[str]:
    """Return imports of other people's packages from rooms that must do without them."""
    here, faults = room_of(place), []
    for found in imports_of(ast.parse(text)):
        package = found.name.split(".")[0]
        if ONE_ROOM.get(package, here) != here:
            faults.append(f"{place}:{found.line}: only {ONE_ROOM[package]!r} may import {package}")
        if package in OPTIONAL and (here != "models" or not found.late):
            faults.append(
                f"{place}:{found.line}: {package} is optional: only inside a function of its loader in models/"
            )
        if package in LATE and not found.late:
            faults.append(f"{place}:{found.line}: {package} is slow to import: only inside a function")
    return faults


def size_faults(place: str, text: str) -> list[str]:
    """Return files and functions that are too long."""
    lines = len(text.splitlines())
    faults = [f"{place}: {lines} lines, more than {MOST_LINES}"] if lines > MOST_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > MOST_LINES_OF_FUNCTION:
                faults.append(
                    f"{place}:{node.lineno}: {node.name} has {length} lines, more than {MOST_LINES_OF_FUNCTION}"
                )
    return faults


def banned_faults(place: str, text: str) -> list[str]:
    """Return what could run code from a file or hide an error."""
    tree = ast.parse(text)
    names = {id(node): name for node, name in _dotted_names(tree)}
    faults = [
        (found.line, f"imports {found.name}, which can run code from a file")
        for found in imports_of(tree)
        if found.name.split(".")[0] in CODE_MODULES and found.name not in HARMLESS
    ]
    checked = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if _is_safe_call(names.get(id(node.func), ""), node, place):
                checked.add(id(node.func))
            faults += [(node.lineno, fault) for fault in _keyword_faults(node, place)]
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            faults.append((node.lineno, "bare except"))
        elif isinstance(node, ast.Attribute) and node.attr == "extractall":
            faults.append((node.lineno, "extractall may write anywhere"))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _UNESCAPED.search(node.value):
            faults.append((node.lineno, "|safe lets a name of a class write HTML"))
    faults += [
        (node.lineno, _name_fault(names[id(node)]))
        for node in ast.walk(tree)
        if isinstance(node, ast.expr) and id(node) not in checked and _name_fault(names.get(id(node), ""))
    ]
    return [f"{place}:{line}: {fault}" for line, fault in sorted(set(faults))]


def _name_fault(name: str) -> str:
    if name in {"torch.load", "torch.serialization.load"}:
        return f"torch.load belongs into {READS_WEIGHTS}, as a call with weights_only=True"
    if name == "numpy.load":
        return "numpy.load must be called with allow_pickle=False"
    return f"{name} {FORBIDDEN[name]}" if name in FORBIDDEN else ""


def _is_safe_call(name: str, call: ast.Call, place: str) -> bool:
    """Say whether a call of one of the two guarded readers is guarded."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if place == TRUSTS:
        return name in TRUSTING
    if (place, name) == KERAS_READER:
        return _is(given.get("safe_mode"), True)
    if name == "torch.load":
        return place == READS_WEIGHTS and _is(given.get("weights_only"), True)
    return name == "numpy.load" and _is(given.get("allow_pickle"), False)


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _keyword_faults(call: ast.Call, place: str) -> Iterator[str]:
    for keyword in call.keywords:
        if keyword.arg in NEVER_TRUE and not _is(keyword.value, False):
            yield f"{keyword.arg} may only be False"
        if keyword.arg in MUST_BE_TRUE and not _is(keyword.value, True) and place != TRUSTS:
            yield f"{keyword.arg} may only be True"
        if keyword.arg == "trust" and room_of(place) in {"dashboard", "pytest_plugin"}:
            yield "trust is for the operator's own call or command, never for what others can reach"


def _dotted_names(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Yield names and attributes with the full name of what they stand for: `np.load` as "numpy.load"."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        parts, inner = [], node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and isinstance(node, ast.expr):
            yield node, ".".join([known.get(inner.id, inner.id), *reversed(parts)])


def method_faults(files: Collection[str], registered: Collection[str]) -> list[str]:
    """Return the faults between the method files of a folder and the files that its registry's methods come from."""
    faults = [f"{name}: no method is registered in it" for name in sorted(set(files) - set(registered))]
    faults += [f"{name}: registers a method, but is no method file" for name in sorted(set(registered) - set(files))]
    twice = {name for name in registered if list(registered).count(name) > 1}
    return faults + [f"{name}: registers more than one method" for name in sorted(twice)]


def public_names(text: str) -> list[str]:
    """Return the names that xai/__init__.py imports for type checkers."""
    blocks = [node for node in ast.parse(text).body if isinstance(node, ast.If) and _last(node.test) == "TYPE_CHECKING"]
    inside = (node for block in blocks for node in ast.walk(block) if isinstance(node, ast.ImportFrom))
    return [alias.asname or alias.name for node in inside for alias in node.names]
