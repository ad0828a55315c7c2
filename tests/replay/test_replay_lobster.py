"""The lobster format: what is read, what is refused and how, and how differences are counted."""

import json
import lzma

import pytest

from matchengine.cli.main import main
from matchengine.replay.errors import InputError
from matchengine.replay.lobster import book_differences, load_lobster, trade_differences

COMMANDS = """seq,time,command,order_id,side,price,qty,origin
1,34200.1,NEW,11,B,1000,50,data
2,34200.2,NEW,12,S,1010,30,data
5,34200.3,REDUCE,11,B,1000,20,data
6,34200.4,IOC,9000000001,S,1000,10,data
9,34200.5,CANCEL,12,S,1010,30,unmatched
"""
TRADES = """seq,taker_id,maker_id,price,qty
6,9000000001,11,1000,10
"""
BOOK = """seq,ask_price_1,ask_qty_1,bid_price_1,bid_qty_1,ask_price_2,ask_qty_2,bid_price_2,bid_qty_2
2,1010,30,1000,50,,,,
7,1010,30,1000,20,,,,
9,,,1000,20,,,,
"""


@pytest.fixture
def folder(tmp_path):
    def write(commands=COMMANDS, trades=TRADES, book=BOOK, *, packed=False):
        place = tmp_path / "ABC_L2"
        place.mkdir(exist_ok=True)
        for name, text in (("commands", commands), ("trades", trades), ("book", book)):
            if packed:
                (place / f"{name}.csv.xz").write_bytes(lzma.compress(text.encode()))
            elif text is not None:
                (place / f"{name}.csv").write_text(text)
        return place

    return write


def replay(place, capsys, *more):
    code = main(["replay", str(place), "--format", "lobster", "--nodes", "0", "--json", *more])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("packed", [False, True])
def test_a_day_without_differences(folder, capsys, packed):
    code, result = replay(folder(packed=packed), capsys)
    assert code == 0
    assert (result["messages"], result["trades"]) == (5, 1)
    assert (result["trade_differences"], result["book_differences"]) == (0, 0)
    assert result["reports_sha256"] is None


@pytest.mark.parametrize("end", ["\r\n", "\n\n"])
def test_line_ends_do_not_matter(folder, capsys, end):
    files = [text.replace("\n", end) for text in (COMMANDS, TRADES, BOOK)]
    place = folder()
    for name, text in zip(("commands", "trades", "book"), files, strict=True):
        (place / f"{name}.csv").write_bytes(text.encode())
    code, result = replay(place, capsys)
    assert (code, result["trades"]) == (0, 1)


def test_sequences_may_use_all_64_bits(folder, capsys):
    last = str(2**64 - 1)
    commands = COMMANDS.replace("\n6,", f"\n{2**64 - 2},").replace("\n9,", f"\n{last},")
    trades = TRADES.replace("\n6,", f"\n{2**64 - 2},")
    book = BOOK.replace("\n7,", f"\n{2**64 - 2},").replace("\n9,", f"\n{last},")
    code, result = replay(folder(commands, trades, book), capsys)
    assert (code, result["trades"]) == (0, 1)


def test_books_need_not_be_there_for_every_message(folder, capsys):
    code, result = replay(folder(book=BOOK.splitlines()[0] + "\n"), capsys)
    assert (code, result["book_differences"]) == (0, 0)


def test_differences_are_counted_and_exit_with_1(folder, capsys):
    trades = TRADES + "7,1,2,3,4\n"
    book = BOOK.replace("7,1010,30,1000,20", "7,1010,31,1000,21")
    code, result = replay(folder(trades=trades, book=book), capsys)
    assert code == 1
    assert (result["trade_differences"], result["book_differences"]) == (1, 2)


def test_the_fills_can_be_written(folder, capsys, tmp_path):
    replay(folder(), capsys, "--reports", str(tmp_path / "fills.csv"))
    assert (tmp_path / "fills.csv").read_text() == TRADES


def test_the_symbol_is_the_folders_name(folder):
    assert load_lobster(folder()).workload.symbol == "ABC"


def test_an_empty_cell_is_not_compared(folder):
    row = load_lobster(folder()).workload.books[0]
    assert book_differences(row, [(1010, 30), (1020, 1)], [(1000, 50)]) == 0
    assert book_differences(row, [(1010, 30)], [(1000, 49)]) == 1
    assert book_differences(row, [], [(1000, 50)]) == 2


def test_trades_are_compared_by_position():
    assert trade_differences([(1,), (2,), (3,)], [(1,), (3,)]) == 2
    assert trade_differences([], [(1,), (3,)]) == 2


def test_the_real_day_in_process(shared_data, capsys):
    code, result = replay(shared_data / "lobster" / "GOOG_L10", capsys)
    assert code == 0
    assert (result["trade_differences"], result["book_differences"]) == (0, 0)
    assert result["trades"] > 1000


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seq,time", "sequence,time", "commands.csv: line 1: the header"),
        ("NEW,11", "BUY,11", "line 2: command 'BUY' is none of NEW"),
        (",B,1000,50", ",X,1000,50", "line 2: side 'X' is neither B nor S"),
        (",B,1000,50", ",B,1000.5,50", "line 2: price '1000.5' is not an integer"),
        (",B,1000,50", ",B,0,50", "line 2: price '0' is not an integer from 1"),
        (",B,1000,50", ",B,1000,-1", "line 2: qty '-1' is not an integer"),
        (",B,1000,50", ",B,1000," + "9" * 30, "line 2: qty '999"),
        (",B,1000,50,data", ",B,1000,50", "line 2: 7 cells are not 8"),
        ("NEW,11", "NEW,9223372036854775808", "line 2: order_id '9223372036854775808'"),
        ("2,34200.2", "1,34200.2", "line 3: seq 1 is not above 1"),
        ("34200.1,NEW", "34200.\xb5,NEW", "not ASCII"),
    ],
)
def test_a_command_that_breaks_a_rule_is_named(folder, old, new, words):
    assert old in COMMANDS
    with pytest.raises(InputError) as caught:
        load_lobster(folder(commands=COMMANDS.replace(old, new, 1)))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"trades": TRADES.replace("9000000001", "x")}, "trades.csv: line 2: taker_id 'x'"),
        ({"trades": ""}, "trades.csv: line 1: the header"),
        ({"book": BOOK.replace("2,1010", "2,a")}, "book.csv: line 2: ask_price_1 'a'"),
        ({"book": BOOK.replace("bid_qty_2", "bid_qty_3")}, "book.csv: line 1: the header"),
        ({"book": "seq\n"}, "book.csv: line 1: the header 'seq' is not 'seq,ask_price_1,"),
        ({"book": ""}, "book.csv: line 1: the header '' is not 'seq,ask_price_1,"),
        ({"book": "seq" + ",x" * 4004 + "\n"}, "book.csv: line 1: 1001 levels are above the limit of 1000"),
        ({"book": BOOK.replace("\n7,", "\n1,")}, "book.csv: line 3: seq 1 is not above 2"),
        ({"book": None}, "holds neither book.csv nor book.csv.xz"),
    ],
)
def test_other_files_that_break_a_rule_are_named(folder, files, words):
    with pytest.raises(InputError) as caught:
        load_lobster(folder(**files))
    assert words in str(caught.value)


def test_a_file_is_not_a_folder(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        load_lobster(path)
