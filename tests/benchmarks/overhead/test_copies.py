"""Two copies of the library in one process must never run each other's code."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys

import pytest

from benchmarks.overhead import compare, copies


@pytest.fixture
def loaded(tmp_path):
    names = ["seawall_one", "seawall_two"]
    yield [copies.load(copies.copy_of_tree(tmp_path / name), name) for name in names]
    for name in list(sys.modules):
        if name.partition(".")[0] in names:
            del sys.modules[name]


def test_a_copy_runs_its_own_code_alone(loaded):
    """What a copy imports at last, inside a function, is its own as well."""
    one, two = loaded
    assert one.CircuitBreaker is not two.CircuitBreaker
    for library in loaded:
        # Some names are imported when they are first asked for.
        public = [getattr(library, name) for name in library.__all__]
        modules = {kind.__module__.partition(".")[0] for kind in public if isinstance(kind, type)}
        assert modules == {library.__name__}
        pipeline = library.Pipeline.standard()
        assert pipeline.find(library.CircuitBreaker) is not None
        assert {type(policy).__module__.partition(".")[0] for policy in pipeline.policies} == {
            library.__name__
        }
        assert pipeline.explain()
        assert isinstance(pipeline.lint(), tuple | list)
        bound = pipeline.bind(timeout=5.0)
        assert asyncio.run(bound.execute(asyncio.sleep, 0, "answer")) == "answer"
    for name, module in list(sys.modules.items()):
        if name.startswith("seawall_one.") and module is not None:
            origins = {
                value.__module__.partition(".")[0]
                for value in vars(module).values()
                if isinstance(value, type) and value.__module__.startswith("seawall")
            }
            assert origins <= {"seawall_one"}, name


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_commit_is_copied_as_it_was(tmp_path, monkeypatch):
    """What is in the working tree, or came after the commit, is not in the copy."""
    repository = tmp_path / "repository"
    source = repository / "src" / "seawall"
    source.mkdir(parents=True)

    def git(*arguments):
        named = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
        subprocess.run(["git", *named, *arguments], cwd=repository, check=True, capture_output=True)

    git("init")
    for text in ("first", "second"):
        (source / "__init__.py").write_text(f'text = "{text}"\n')
        git("add", ".")
        git("commit", "-m", text)
    (source / "__init__.py").write_text('text = "not committed"\n')
    monkeypatch.setattr(copies, "ROOT", repository)
    for revision, expected in (("HEAD~1", "first"), ("HEAD", "second")):
        commit = compare.commit_of(revision)
        copy = copies.copy_of_commit(tmp_path / revision, commit)
        assert (copy / "__init__.py").read_text() == f'text = "{expected}"\n'
    with pytest.raises(SystemExit, match="must be a commit"):
        compare.commit_of("nothing-of-this-name")
