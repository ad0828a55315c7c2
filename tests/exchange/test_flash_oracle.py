"""The public oracle: report streams of another author's generator, byte for byte, through the engine's door."""

from __future__ import annotations

import json

import pytest

from matchengine.exchange.engine import MatchingEngine
from matchengine.exchange.reference_book import ReferenceEngine
from matchengine.replay import flash
from matchengine.replay.answers import Answer

#: As published with the data.
HASHES = {
    "normal-20000-seed1": "aca87a70eebd11caa0ff5d045535f2f8f6469f118e8bd9f192f374ec697d7854",
    "swing-25-50000-seed2": "3439edf5617aeeb9362648a0dc08eb9f48a9521be44c84c36eda85c8dd22674c",
    "flash-crash-50000-seed3": "3f4c9edb931871493c1bebbc45048acd1813c3885a2eb451522933dfab842afb",
}
CASES = 34


def _answers(engine, workload, size):
    engine.execute(workload.instrument_batch(), 0)
    for start in range(0, workload.messages, size):
        end = min(start + size, workload.messages)
        yield Answer(start, engine.execute(workload.batch(start, end), 0))


@pytest.mark.parametrize("name", HASHES)
def test_recorded_streams(shared_data, name):
    recording = flash.load_flash(shared_data / "flash" / f"{name}.bin.xz")
    outcome = flash.judge_flash(recording, _answers(MatchingEngine(), recording.workload, 1000), None)
    assert outcome.sha256 == HASHES[name]


def test_edge_cases(shared_data, tmp_path):
    cases = json.loads((shared_data / "flash" / "edge_cases.json").read_text())["cases"]
    assert len(cases) == CASES
    for name, case in cases.items():
        path = tmp_path / f"{name}.bin"
        path.write_bytes(_recording(case["in"]))
        recording = flash.load_flash(path)
        engines = [MatchingEngine()]
        if len(case["in"]) <= 500:  # the reference would take minutes for the long ones
            engines.append(ReferenceEngine())
        for engine in engines:
            found = list(flash.report_lines(recording, _answers(engine, recording.workload, 100)))
            assert sorted(found, key=_by_seq_and_type) == case["expected"], name


def _recording(messages):
    records = [
        flash.RECORD.pack(kind, side, ioc, 0, quantity, seq, order_id, price, 0)
        for seq, (kind, side, ioc, quantity, order_id, price) in enumerate(messages)
    ]
    return flash.HEADER.pack(flash.MAGIC, flash.VERSION, len(records)) + b"".join(records)


def _by_seq_and_type(line):
    kind, seq = line.split(",")[:2]
    return int(seq), int(kind)
