"""What the tests of trainings share: the module ``toy``, which is a program as well."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy():
    spec = importlib.util.spec_from_file_location("toy_training", Path(__file__).with_name("toy.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def killed(toy, play):
    """Plays a training of ``toy`` that is to kill itself, in a process of its own; the exit code, minus the signal."""
    program = f"import runpy; runpy.run_path({toy.__file__!r}, run_name='__main__')"
    return lambda *words: play(program, *words).returncode
