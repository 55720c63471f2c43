"""Reads which module imports which, out of the source. It loads none of them."""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

Floors: TypeAlias = Sequence[Sequence[str]]
"""Rooms from the lowest floor to the highest. A room may import those below it, and none beside it."""

Arrow: TypeAlias = tuple[str, str]
"""A module, and one that it imports."""


@dataclass(frozen=True)
class Source:
    """A package's modules and the arrows between them."""

    package: str
    """The package's full name; its rooms are the modules and packages in it."""
    modules: Mapping[str, Path]
    """Its modules' files, by their full names."""
    arrows: Sequence[Arrow]
    """All imports of one of its modules in another: at the top, in a function, or for the type checker alone."""

    @classmethod
    def read(cls, root: Path, package: str) -> Self:
        """Reads the package that lies below a folder of source."""
        files = sorted((root / Path(*package.split("."))).rglob("*.py"))
        modules = {_name_of(file, root): file for file in files}
        arrows = [
            (module, target)
            for module, file in modules.items()
            for target in dict.fromkeys(_targets(file, modules))
            if target != module
        ]
        return cls(package, modules, arrows)

    def room_of(self, module: str) -> str:
        """The room that a module is in; the empty one is the package itself, which shows what its rooms have."""
        return module.removeprefix(self.package).lstrip(".").partition(".")[0]

    def forbidden(self, floors: Floors) -> list[str]:
        """The arrows that don't go down, and the rooms that stand on no floor."""
        floor_of = {room: number for number, floor in enumerate(floors) for room in floor}
        unplaced = {self.room_of(module) for module in self.modules} - set(floor_of)
        wrong = [f"{room} is on no floor" for room in sorted(unplaced)]
        for module, target in self.arrows:
            room, other = self.room_of(module), self.room_of(target)
            if room != other and not floor_of.get(other, 0) < floor_of.get(room, 0):
                wrong.append(f"{module} imports {target}")
        return wrong

    def circles(self) -> list[list[str]]:
        """The modules that can be reached from themselves: each group of them once (Tarjan's components)."""
        targets: dict[str, list[str]] = {module: [] for module in self.modules}
        for module, target in self.arrows:
            targets[module].append(target)
        return [sorted(group) for group in _components(targets) if len(group) > 1]


def _name_of(file: Path, root: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(file: Path, modules: Iterable[str]) -> Iterator[str]:
    """The modules that a file imports, wherever in it: `from a import b` is an arrow to `a.b` if that is a module."""
    known = set(modules)
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else str(node.module) for name in inside]
        yield from (name for name in names if name in known)


def _components(targets: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """The strongly connected components of a graph."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(module: str) -> Iterator[list[str]]:
        number[module] = lowest[module] = len(number)
        path.append(module)
        for target in targets[module]:
            if target not in number:
                yield from visit(target)
                lowest[module] = min(lowest[module], lowest[target])
            elif target in path:
                lowest[module] = min(lowest[module], number[target])
        if lowest[module] == number[module]:
            start = path.index(module)
            yield path[start:]
            del path[start:]

    for module in targets:
        if module not in number:
            yield from visit(module)
