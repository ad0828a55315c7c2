"""What the commands refuse before they talk to anybody: the field, its value and the rule are named."""

import pytest

from matchengine.cli.main import main

CASES = [
    ("cancel 17.4", "ID '17.4' is not a whole number from 1 to"),
    ("cancel x", "ID 'x' is not a whole number"),
    ("cancel 0", "ID 0 is not a whole number from 1 to"),
    ("submit ACME buy 1 1 --id 1.5", "--id: '1.5' is not a whole number"),
    ("submit ACME buy 1 1 --id 0", "--id: 0 is not a whole number from 1 to"),
    ("submit ACME buy 1 1 --id 18446744073709551616", "--id: 18446744073709551616 is not a whole number from 1 to"),
    ("submit ACME buy 1 1 --account -1", "--account: -1 is not a whole number from 0 to 4294967295"),
    ("submit ACME hold 1 1", '"hold" for SIDE'),
    ("submit ACME buy", "QUANTITY"),
    ("book ACME --levels 1001", "--levels: 1001 is not a whole number from 0 to 1000"),
    ("book ACME --addresses nowhere", "addresses: 'nowhere' is not of the form host:port"),
    ("book ACME --watch --every 0", "--every 0 is not from 0.1 to 3600"),
    ("order", "ID: give either the order's client id or --order-id"),
    ("order 1 --order-id 2", "ID: give either the order's client id or --order-id"),
    ("quote ACME hold 1", '"hold" for SIDE'),
    ("cluster status --addresses a:1,b:x", "addresses: port 'x' is not a number"),
    ("cluster upgrade --level 1", "feature level: '1' is not LIBRARY.MACHINE"),
    ("node --id a --data-dir d --feature-level 0.0", "feature_level: 0.0 is for the node that founds a cluster"),
    ("node --id a --data-dir d --bootstrap --feature-level x", "feature level: 'x' is not LIBRARY.MACHINE"),
    ("member add nodeB nowhere", "address: 'nowhere' is not of the form host:port"),
    ("session close", "session close: give either NUMBER or --name"),
    ("session close 7 --name desk", "session close: give either NUMBER or --name"),
    ("session close x", "NUMBER 'x' is not a whole number"),
    ("session close 18446744073709551616", "NUMBER 18446744073709551616 is not a whole number from 0 to"),
    ("demo --rate 99.5", "--rate: '99.5' is not a whole number"),
    ("demo --seconds nan", "--seconds nan is not from"),
    ("replay a.bin --format flash --nodes 0.6", "--nodes: '0.6' is not a whole number"),
    ("replay a.bin --format flash --nodes 0 --batch 1.5", "--batch: '1.5' is not a whole number"),
    ("replay no.bin --format flash --nodes 0", "no.bin: cannot be read"),
    ("node --id a", "--data-dir"),
    ("node --id a --data-dir d --listen nohost", "listen: 'nohost' is not of the form host:port"),
    ("node --id a --data-dir d --address h:0", "address: port '0' is not a number from 1 to 65535"),
    ("node --id a --data-dir d --profile slow", '"slow" for --profile'),
    ("node --id a --data-dir d --engine etcd", '"etcd" for --engine'),
]


@pytest.mark.parametrize(("line", "words"), CASES, ids=[line for line, _ in CASES])
def test_a_usage_error_names_field_value_and_rule(capsys, line, words):
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert words in " ".join((printed.out + printed.err).replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["member", "add", "", "h:1"], "id: '' is empty"),
        (["book", "ACME", "--addresses", ""], "addresses: there is none"),
        (["replay", "a.bin", "--format", "flash", "--nodes", "0", "--expect-sha256", ""], "--expect-sha256 ''"),
    ],
)
def test_an_empty_value_is_not_a_missing_one(capsys, arguments, words):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
