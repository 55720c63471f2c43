"""What `vitrine.model` offers: each name is loaded with its module, when it is asked for."""

import ast
from pathlib import Path

import pytest

import vitrine.model
from vitrine.model import tolerance


def test_every_name_is_loaded_from_its_module() -> None:
    for name in vitrine.model.__all__:
        assert getattr(vitrine.model, name) is not None
    assert dir(vitrine.model) == sorted(vitrine.model.__all__)


def test_what_type_checkers_see_is_what_is_loaded() -> None:
    tree = ast.parse(Path(vitrine.model.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {str(node.module): {alias.name for alias in node.names} for node in imports}
    loaded = {f"vitrine.model.{module}": set(names) for module, names in vitrine.model._MODULES.items()}
    assert seen == loaded
    assert sorted(set().union(*loaded.values())) == sorted(vitrine.model.__all__)


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="no attribute 'prepair'"):
        getattr(vitrine.model, "prepair")  # noqa: B009 - mypy knows that it isn't there


def test_a_module_that_is_imported_first_hides_no_name() -> None:
    assert vitrine.model.deviation is tolerance.deviation
