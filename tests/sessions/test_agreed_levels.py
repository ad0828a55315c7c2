"""To which level a cluster may be raised, and who is in the way."""

from __future__ import annotations

import pytest

from matchengine.errors import RefusedError
from matchengine.levels import Levels, MemberLevels, agreed_levels

ZERO = Levels()


def members(*newest):
    return [
        MemberLevels(f"n{number}", f"h:{number}", None if each is None else Levels.parse(each), "did not answer")
        for number, each in enumerate(newest, 1)
    ]


@pytest.mark.parametrize(
    ("active", "newest", "asked", "target"),
    [
        ("0.0", ["1.0", "1.0", "1.0"], None, "1.0"),
        ("0.0", ["2.3", "1.5", "3.4"], None, "1.3"),
        ("1.3", ["2.3", "1.5", "3.4"], "1.3", "1.3"),
        ("0.0", ["2.3", "1.5", "3.4"], "1.0", "1.0"),
        ("1.3", ["1.3", "1.3"], None, "1.3"),
        ("0.2", ["1.2", "1.3"], None, "1.2"),
        ("0.0", ["1.0"], "0.0", "0.0"),
    ],
)
def test_the_cluster_is_raised_to_what_all_can_execute(active, newest, asked, target):
    wanted = None if asked is None else Levels.parse(asked)
    assert agreed_levels(Levels.parse(active), members(*newest), wanted) == Levels.parse(target)


@pytest.mark.parametrize(
    ("active", "newest", "asked", "lines"),
    [
        ("0.0", ["1.0", None, "1.0"], None, ["n2 at h:2 did not answer"]),
        ("0.0", ["1.0", "0.0", None], "1.0", ["n2 at h:2 executes up to 0.0", "n3 at h:3 did not answer"]),
        ("0.0", ["1.0", "0.0", "1.0"], None, ["n2 at h:2 executes up to 0.0"]),
        ("0.0", ["1.4", "1.3", "0.4"], "1.4", ["n2 at h:2 executes up to 1.3", "n3 at h:3 executes up to 0.4"]),
        ("0.0", [None, None], None, ["n1 at h:1 did not answer", "n2 at h:2 did not answer"]),
        ("1.1", ["1.1", "1.0"], None, ["n2 at h:2 executes up to 1.0"]),
    ],
)
def test_whoever_is_in_the_way_is_named_with_a_level(active, newest, asked, lines):
    wanted = None if asked is None else Levels.parse(asked)
    with pytest.raises(RefusedError, match="cannot be put in force") as refused:
        agreed_levels(Levels.parse(active), members(*newest), wanted)
    head, *named = str(refused.value).splitlines()
    assert [line.strip() for line in named] == lines
    assert f"{active} stays" in head


@pytest.mark.parametrize("asked", ["0.9", "1.1"])
def test_no_level_below_the_one_in_force_can_be_asked_for(asked):
    with pytest.raises(RefusedError, match=rf"level {asked} is below 1\.2, which is in force; levels never fall"):
        agreed_levels(Levels(1, 2), members("2.2"), Levels.parse(asked))


@pytest.mark.parametrize("text", ["", "1", "1.", ".1", "1.0.0", "1.x", "-1.0", "1.65536", "1.+1", "1. 0", "²" + ".0"])
def test_other_texts_are_no_levels(text):
    with pytest.raises(ValueError, match=r"is not LIBRARY\.MACHINE, two numbers from 0 to 65535"):
        Levels.parse(text)


def test_a_level_is_read_as_it_is_written():
    assert Levels.parse("12.65535") == Levels(12, 65535)
    assert str(Levels.parse("12.65535")) == "12.65535"
