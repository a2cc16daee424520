"""Find every member of TensorRT's API that our source touches, by following types through the syntax tree.

Types come from what the source says: ``trt`` is the module; ``trt.Builder(...)`` makes a Builder; a method gives what
the recorded signatures say; parameters, variables and results annotated ``tensorrt.X`` are X; a class that extends
``trt.X`` is one. Where none of these tells, and the attribute could be one of TensorRT's, that is reported too.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OTHERS = ("serving/", "bundle/bill.py")
Facts = Mapping[str, Any]
MODULE = "module"


@dataclass(frozen=True)
class Touch:
    """One use of a member: of which class, in which function, written to or only read."""

    cls: str
    member: str
    function: str
    place: str
    write: bool = False


@dataclass
class Findings:
    touches: list[Touch] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)


def sources(root: Path) -> dict[str, str]:
    """Return the text of each of our files but OTHERS, whose objects are Triton's, or those of a bill of materials."""
    files = {str(path.relative_to(root)): path for path in sorted(root.rglob("*.py"))}
    return {name: path.read_text() for name, path in files.items() if not name.startswith(OTHERS)}


def scan(files: Mapping[str, str], facts: Facts) -> Findings:
    """Return what the files touch; ``facts`` are those of all versions together."""
    trees = {name: _parse(text) for name, text in files.items()}
    results = {
        node.name: cls
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and (cls := _annotated(node.returns))
    }
    own = _own_names(trees.values())
    findings = Findings()
    for name, tree in trees.items():
        if "tensorrt" not in files[name]:
            continue
        _Scanner(name, facts, results, own, findings).scan(tree)
    return findings


@functools.cache
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


def _annotated(annotation: ast.expr | None) -> str | None:
    """Return X of an annotation ``tensorrt.X``."""
    if isinstance(annotation, ast.Attribute) and isinstance(annotation.value, ast.Name):
        return annotation.attr if annotation.value.id == "tensorrt" else None
    return None


def _own_names(trees: Any) -> set[str]:
    """Return all names that our source defines: methods, fields and attributes of self."""
    names = {name for cls in (str, list, dict, tuple, bytes, set, Path) for name in dir(cls)}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            names.add(node.attr)
    return names


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


class _Scanner:
    """One file. Types are the names of TensorRT's classes: "X" an instance, "type X" the class itself, or MODULE."""

    def __init__(self, name: str, facts: Facts, results: Mapping[str, str], own: set[str], findings: Findings) -> None:
        self.name, self.facts, self.results, self.own, self.findings = name, facts, results, own, findings
        self.members = {member for cls in facts.values() for member in cls.get("members", {})}
        self.attributes: dict[tuple[str, str], str] = {}

    def scan(self, tree: ast.Module) -> None:
        for _ in range(2):  # once to learn the types of self's attributes, once with them
            self.found = Findings()
            self._block(tree.body, {}, "")
        self.findings.touches += self.found.touches
        self.findings.unclear += self.found.unclear

    def _block(self, body: list[ast.stmt], scope: dict[str, str], function: str) -> None:
        for node in body:
            self._statement(node, scope, function)

    def _statement(self, node: ast.stmt, scope: dict[str, str], function: str) -> None:
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            inner = {a.arg: MODULE if a.arg == "trt" else _annotated(a.annotation) or "" for a in arguments}
            inner = {**scope, **inner}
            if "self" in inner and not inner["self"]:
                inner["self"] = scope.get("self", "")
            self._block(node.body, inner, function or node.name)
        elif isinstance(node, ast.ClassDef):
            bases = [self._type(base, scope, function) for base in node.bases]
            base = next((base.removeprefix("type ") for base in bases if base.startswith("type ")), "")
            for method in (part for part in node.body if isinstance(part, ast.FunctionDef) and base):
                if method.name in self._members_of(base):
                    self._touch(base, method.name, function, method)
            self._block(node.body, {**scope, "self": base, "class": node.name}, function)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            annotated = _annotated(node.annotation) if isinstance(node, ast.AnnAssign) else None
            kind = annotated or self._type(node.value, scope, function)
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._assign(target, kind, scope, function)
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.stmt):
                    self._statement(child, scope, function)
                elif isinstance(child, ast.expr):
                    self._type(child, scope, function)
                else:  # handlers, with-items
                    for part in ast.iter_child_nodes(child):
                        if isinstance(part, ast.stmt):
                            self._statement(part, scope, function)
                        elif isinstance(part, ast.expr):
                            self._type(part, scope, function)

    def _assign(self, target: ast.expr, kind: str, scope: dict[str, str], function: str) -> None:
        if isinstance(target, ast.Name):
            scope[target.id] = kind
        elif isinstance(target, ast.Attribute):
            if _is_self(target.value) and not scope.get("self"):
                key = scope["class"], target.attr
                self.attributes[key] = kind or self.attributes.get(key, "")
            elif (owner := self._type(target.value, scope, function)) and not self._is_plain(owner, target, scope):
                self._touch(owner, target.attr, function, target, write=True)
        else:
            self._type(target, scope, function)

    def _type(self, node: ast.expr, scope: dict[str, str], function: str) -> str:
        """Return an expression's type, "" where it is none of TensorRT's, and note what it touches."""
        if isinstance(node, ast.Name):
            return scope.get(node.id, "")
        if isinstance(node, ast.Attribute):
            return self._attribute(node, scope, function)
        if isinstance(node, ast.Call):
            return self._call(node, scope, function)
        inner = dict(scope)
        for child in _expressions(node):
            self._type(child, inner, function)
        return ""

    def _attribute(self, node: ast.Attribute, scope: dict[str, str], function: str) -> str:
        if _is_self(node.value) and not scope.get("self"):
            return self.attributes.get((scope["class"], node.attr), "")
        owner = self._type(node.value, scope, function)
        if owner == MODULE:
            if node.attr in self.facts:
                self._touch(MODULE, node.attr, function, node)
                return f"type {node.attr}"
            if not node.attr.startswith("__"):
                self._unclear(node, "not in the recorded classes")
            return ""
        if owner:
            cls = owner.removeprefix("type ")
            if node.attr in self.facts:
                return f"type {node.attr}"
            if not self._is_plain(cls, node, scope):
                self._touch(cls, node.attr, function, node)
        elif node.attr in self.members - self.own:
            self._unclear(node, "could be TensorRT's; annotate what it belongs to")
        return ""

    def _call(self, node: ast.Call, scope: dict[str, str], function: str) -> str:
        kind = self._type(node.func, scope, function)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            self._type(argument, scope, function)
        if kind.startswith("type "):
            self._count_arguments(node, kind.removeprefix("type "), "__init__")
            return kind.removeprefix("type ")
        if isinstance(node.func, ast.Attribute):
            owner = self._quietly(node.func.value, scope, function)
            if owner and owner != MODULE:
                self._count_arguments(node, owner, node.func.attr)
                return self._returns(owner, node.func.attr)
            return self.results.get(node.func.attr, "")
        if isinstance(node.func, ast.Name):
            return MODULE if node.func.id == "load" else self.results.get(node.func.id, "")
        return ""

    def _count_arguments(self, node: ast.Call, cls: str, method: str) -> None:
        """Complain about a call that no overload takes; "*" and keyword arguments are left to the fakes."""
        overloads = self._members_of(cls.removeprefix("type ")).get(method, [])
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args) or not overloads:
            return
        given = len(node.args) - cls.startswith("type ")  # Class.method(self, ...)
        for overload in overloads:
            names = [name for name in overload[1:].partition(")")[0].split(", ") if name]
            if len([name for name in names if not name.endswith("=")]) <= given <= len(names):
                return
        self.found.unclear.append(f"{self.name}:{node.lineno}: {cls}.{method} takes {' or '.join(overloads)}")

    def _quietly(self, node: ast.expr, scope: dict[str, str], function: str) -> str:
        kept = len(self.found.touches), len(self.found.unclear)
        kind = self._type(node, scope, function)
        del self.found.touches[kept[0] :], self.found.unclear[kept[1] :]
        return kind

    def _members_of(self, cls: str) -> Mapping[str, Any]:
        return self.facts.get(cls, {}).get("members", {})

    def _is_plain(self, cls: str, node: ast.Attribute, scope: dict[str, str]) -> bool:
        """Tell whether an attribute is Python's, or one that our own extension of a class has added."""
        if node.attr.startswith("__") or ("enum" in self.facts[cls] and node.attr == "name"):
            return True
        return _is_self(node.value) and bool(scope.get("self")) and node.attr not in self._members_of(cls)

    def _returns(self, owner: str, method: str) -> str:
        overloads = self._members_of(owner).get(method, [])
        name = overloads[0].rpartition(" -> ")[2] if isinstance(overloads, list) and overloads else ""
        return name if name in self.facts else ""

    def _touch(self, cls: str, member: str, function: str, node: ast.stmt | ast.expr, *, write: bool = False) -> None:
        self.found.touches.append(Touch(cls, member, function, f"{self.name}:{node.lineno}", write))

    def _unclear(self, node: ast.Attribute, why: str) -> None:
        self.found.unclear.append(f"{self.name}:{node.lineno}: .{node.attr} {why}")


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions directly inside a node, those of comprehensions and slices included."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield child
        else:
            yield from _expressions(child)
