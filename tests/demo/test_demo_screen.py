"""What the demonstration draws."""

from rich.console import Console

from matchengine.demo.ledger import Trade
from matchengine.demo.screen import LADDER_LEVELS, Lines, Picture, drawing
from matchengine.exchange.types import Side
from matchengine.v1.exchange_pb2 import Level

STORY = "node1, the leader, was killed; orders were acknowledged again after 1234 ms; node1 is back and has caught up"


def picture(elapsed_s=1.0, story=STORY):
    levels = [Level(price="100.40", quantity="12345", orders=3)] * LADDER_LEVELS
    nodes = [("node1", "down"), ("node2", "leader"), ("node3", "pre_candidate")]
    trades = [Trade(Side.BUY, 10_040, 7)] * 12
    return Picture(elapsed_s, 24_000, 23_960, 4_567, nodes, levels, levels, trades, story)


def test_the_picture_fits_the_smallest_usual_terminal():
    lines = Console(width=80, height=24).render_lines(drawing(picture()))
    assert len(lines) <= 24
    text = "\n".join("".join(segment.text for segment in line) for line in lines)
    assert "caught up" in text
    assert "acknowledged 23,960" in text
    assert "pre_candidate" in text


def test_without_a_terminal_there_is_a_line_a_second_and_one_for_news(capsys):
    with Lines() as screen:
        for elapsed_s, story in ((0.0, ""), (0.2, ""), (0.4, "killed"), (0.6, "killed"), (1.5, "killed")):
            screen.show(picture(elapsed_s, story))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["0.0", "0.4", "1.5"]
    assert [line.endswith("killed") for line in lines] == [False, True, False]
