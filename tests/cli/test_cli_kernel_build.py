"""What the command line says of the kernel's build, and that an older one than its source is refused."""

from __future__ import annotations

import os

import pytest

from matchengine import __version__, kernel_build
from matchengine.cli.main import main
from matchengine.errors import MatchEngineError


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with one module, compiled after it was written, in a checkout."""
    monkeypatch.setattr(kernel_build, "_FOLDER", tmp_path)
    monkeypatch.setattr(kernel_build, "_SETUP", tmp_path / "setup.py")
    monkeypatch.setattr(kernel_build, "IS_COMPILED", True)
    for name, time in (("setup.py", 100), ("levels.py", 100), ("levels.so", 200)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    return tmp_path


def test_a_kernel_compiled_after_its_source_is_used(checkout):
    assert not kernel_build.is_stale()
    kernel_build.require_fresh()


def test_a_source_that_is_newer_is_noticed_and_its_commands_refused(checkout, capsys):
    os.utime(checkout / "levels.py", (201, 201))
    assert kernel_build.is_stale()
    with pytest.raises(MatchEngineError, match="run make kernel"):
        kernel_build.require_fresh()
    assert main(["replay", "no-such-file", "--format", "flash", "--nodes", "0"]) == 3
    assert capsys.readouterr().err == "matchengine: the compiled kernel is older than its source; run make kernel\n"


def test_one_old_module_among_new_ones_is_noticed(checkout):
    (checkout / "orders.so").touch()
    assert not kernel_build.is_stale()
    os.utime(checkout / "orders.so", (99, 99))
    assert kernel_build.is_stale()


def test_an_installed_package_and_plain_python_are_never_stale(checkout, monkeypatch):
    os.utime(checkout / "levels.py", (201, 201))
    monkeypatch.setattr(kernel_build, "IS_COMPILED", False)
    assert not kernel_build.is_stale()
    monkeypatch.setattr(kernel_build, "IS_COMPILED", True)
    (checkout / "setup.py").unlink()
    assert not kernel_build.is_stale()


@pytest.mark.parametrize(("is_compiled", "text"), [(True, "compiled"), (False, "plain Python, slow")])
def test_the_version_says_how_the_kernel_was_built(is_compiled, text, monkeypatch, capsys):
    monkeypatch.setattr(kernel_build, "IS_COMPILED", is_compiled)
    main(["--version"])
    assert capsys.readouterr().out.startswith(f"{__version__} (kernel: {text}")
