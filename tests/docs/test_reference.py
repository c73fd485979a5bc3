"""The reference is written from the code: every setting is in it, with a sentence of its own."""

import importlib.util
import sys
from types import ModuleType

import pytest
from markdown_blocks import ROOT

from distunlearn.config import RunConfig
from distunlearn.prepare.recipe import Recipe
from distunlearn.strict import Strict


@pytest.fixture(scope="module")
def settings() -> ModuleType:
    """docs/settings.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("settings", ROOT / "docs" / "settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("model", [RunConfig, Recipe])
def test_every_setting_has_a_sentence(settings: ModuleType, model: type[Strict]) -> None:
    """A field without a docstring would be a key whose meaning nobody is told."""
    assert settings.undocumented(model) == []


def test_an_entry_says_kind_bounds_default_and_meaning(settings: ModuleType) -> None:
    """As read from the model: a number with its bounds, a choice, a choice of sections, a section of several places."""
    page = "\n\n".join(settings.sections(RunConfig))
    for expected in (
        "`batch` · whole number, > 0 · default `16`\n: Scans in a batch, over all ranks; every batch holds every site.",
        "`compression` · `none` or `bf16` or `powersgd` · default `none`",
        "`shards` · text · **needed**",
        "## `task`, `name: regression`",
        "## `confounds.NAME.unlearn`, `data.main`, `data.unlearn`",
        "`warm_up` · number, ≥ 0, ≤ 1 · default `0.0`",
        "`cuts` · list of number or null, 1 or more · default `null`",
    ):
        assert expected in page


def test_a_setting_without_a_sentence_is_noticed(settings: ModuleType) -> None:
    """So that the first test can fail."""

    class Mute(Strict):
        """A section."""

        key: int = 1

    assert settings.undocumented(Mute) == ["Mute.key"]
