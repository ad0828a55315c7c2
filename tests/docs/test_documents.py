"""What the documents say is true where a machine can tell."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from matchengine import Entry, Leveled, Levels
from matchengine.cli.main import app
from matchengine.exchange import layout
from matchengine.levels import NEWEST_LIBRARY_LEVEL
from matchengine.node.policy import SnapshotPolicy
from matchengine.sessions import SessionMachine, command_envelope, decode_answer, open_envelope, raise_levels_envelope

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
HOSTILE = [b"", b"x", b"-1", b"1.5", b" 1", b"\xff\xfe", "²".encode(), b"9" * 5000, b"9" * 60_000]


def commands():
    """Every line of a code block that calls the command, and every example in its help."""
    for page in PAGES:
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                if line.startswith("matchengine "):
                    yield page.name, line.partition(" #")[0].rstrip(" &")
    for source in (ROOT / "src" / "matchengine" / "cli").glob("*.py"):
        for example in re.findall(r"Example: `(matchengine .*?)`", source.read_text()):
            yield source.name, example


@pytest.mark.parametrize(("place", "line"), [*commands()])
def test_every_command_that_is_shown_is_one(place, line):
    app.parse_args(shlex.split(line)[1:], print_error=False, exit_on_error=False)


def test_a_command_that_is_none_would_be_noticed():
    with pytest.raises(Exception, match="--prise"):
        app.parse_args(shlex.split("submit ACME buy 1 --prise 2"), print_error=False, exit_on_error=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_exists(page):
    makefile = (ROOT / "Makefile").read_text()
    shown = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    assert all(f"\n{target}:" in makefile for target in shown), shown


def test_the_packed_layout_is_the_documented_one():
    text = (ROOT / "docs" / "layout.md").read_text()
    sizes = {"Command": layout.COMMAND, "Instrument": layout.INSTRUMENT, "Report": layout.REPORT}
    for name, record in sizes.items():
        assert f"### {name}, {record.size} bytes" in text
    assert f"{layout.MAX_BATCH_BYTES:,} bytes, which are {layout.MAX_COMMANDS:,} commands" in text
    assert f"now **{layout.VERSION}**" in text


def test_the_architecture_names_the_snapshot_rule():
    policy = SnapshotPolicy()
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert f"every {policy.entries:,} entries or {policy.bytes // 2**20} MiB" in text


def counter_of(source):
    """The class of this name, without what stands around it."""
    tree = ast.parse(source)
    wanted = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Counter"]
    names = {}
    exec(compile(ast.Module(wanted, []), "counter", "exec"), names)
    return names["Counter"]()


def test_the_example_survives_whatever_it_is_told():
    """An apply that raises would stop every node, and every restart of it."""
    counter = counter_of((ROOT / "examples" / "counter.py").read_text())
    answers = counter.apply([Entry(index, 1, data=data) for index, data in enumerate((b"5", *HOSTILE, b"2"), 1)])
    assert answers == [b"5"] * (1 + len(HOSTILE)) + [b"7"]
    again = counter_of((ROOT / "examples" / "counter.py").read_text())
    again.restore(counter.snapshot())
    assert again.total == 7


def python_of(page, number=0):
    """The code block of this number in a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)[number]


def test_the_example_with_levels_does_at_level_0_what_the_older_one_did():
    older = counter_of((ROOT / "examples" / "counter.py").read_text())
    newer = counter_of(python_of("docs/levels.md"))
    commands = [b"5", b"reset", *HOSTILE, b"2"]
    for level, answers in ((0, older.apply([Entry(1, 1, data=data) for data in commands])), (1, None)):
        given = newer.apply([Entry(index, 1, data=data, level=level) for index, data in enumerate(commands, 1)])
        assert given == (answers or [b"12", *[b"0"] * (1 + len(HOSTILE)), b"2"])
    assert (b"".join(older.snapshot()), b"".join(newer.snapshot())) == (b"7", b"2")


def test_the_example_with_levels_gets_its_level_from_the_cluster():
    machine = SessionMachine(counter_of(python_of("docs/levels.md")))
    assert isinstance(machine.inner, Leveled)
    assert machine.newest_levels == Levels(NEWEST_LIBRARY_LEVEL, 1)
    session = put(machine, 1, open_envelope()).value
    assert put(machine, 2, command_envelope(session, 1, 0, b"5")).payload == b"5"
    assert put(machine, 3, command_envelope(session, 2, 1, b"reset")).payload == b"5"
    put(machine, 4, raise_levels_envelope(Levels(0, 1)))
    assert put(machine, 5, command_envelope(session, 3, 2, b"reset")).payload == b"0"


def put(machine, index, data):
    (answer,) = machine.apply([Entry(index, 1, data=data)])
    return decode_answer(answer)


def test_both_columns_of_the_readme_count():
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    rows = [[part.rstrip() for part in line.split("|")] for line in blocks[0].splitlines()] if blocks else []
    if not all(len(row) == 2 for row in rows) or not rows:
        pytest.skip("the README shows no two columns")
    plain = "\n".join(left for left, _ in rows if left.startswith((" ", "class")))
    replicated = "\n".join(right[2:] for _, right in rows if right[2:].startswith((" ", "class")))
    assert counter_of(plain).add(1) == 1
    assert counter_of(replicated).apply([Entry(1, 1, data=b"1"), Entry(2, 1, data=b"2")]) == [b"1", b"3"]
