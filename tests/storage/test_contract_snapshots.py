"""What every SnapshotStore promises."""

import pytest

from matchengine.storage.contracts import StorageError


def write(store, meta, data=b"state"):
    sink = store.create(meta)
    sink.write(data)
    return sink.commit()


def test_a_new_store_has_no_snapshot(open_stores):
    assert open_stores()[2].newest() is None


@pytest.mark.parametrize("size", [0, 1, 256 * 1024 - 1, 256 * 1024, 600_000])
def test_a_committed_snapshot_comes_back_with_its_size(open_stores, meta, size):
    store = open_stores()[2]
    data = bytes(i % 251 for i in range(size))
    sink = store.create(meta(10, 2))
    for start in range(0, size, 7919):
        sink.write(data[start : start + 7919])
    assert store.newest() is None
    committed = sink.commit()
    assert committed == meta(10, 2, size)
    store = open_stores()[2]
    assert store.newest() == committed
    assert b"".join(store.open(committed)) == data


def test_the_newest_is_the_one_of_the_highest_term_and_index(open_stores, meta):
    store = open_stores()[2]
    for index, term in ((5, 1), (9, 2), (7, 2)):
        write(store, meta(index, term))
    assert store.newest() == meta(9, 2, 5)
    assert open_stores()[2].newest() == meta(9, 2, 5)


def test_the_newest_three_are_kept(open_stores, meta):
    store = open_stores()[2]
    for index in range(1, 6):
        write(store, meta(index), b"%d" % index)
    for again in (store, open_stores()[2]):
        for index in (3, 4, 5):
            assert b"".join(again.open(meta(index))) == b"%d" % index
        for index in (1, 2):
            with pytest.raises(StorageError, match=f"no snapshot of term 1, index {index}"):
                again.open(meta(index))


def test_an_aborted_snapshot_never_existed(open_stores, meta):
    store = open_stores()[2]
    sink = store.create(meta(10))
    sink.write(b"half")
    sink.abort()
    assert store.newest() is None
    assert open_stores()[2].newest() is None


@pytest.mark.parametrize("announced", [4, 6])
def test_a_size_other_than_announced_is_refused_and_harms_nothing_else(open_stores, meta, announced):
    store = open_stores()[2]
    sink = store.create(meta(10, size=announced))
    sink.write(b"state")
    with pytest.raises(StorageError, match=f"5 bytes, {announced} were announced"):
        sink.commit()
    assert store.newest() is None
    assert write(store, meta(11, size=5)) == meta(11, size=5)


def test_the_same_snapshot_twice_gives_the_later_one(open_stores, meta):
    store = open_stores()[2]
    write(store, meta(10), b"first")
    write(store, meta(10), b"second")
    assert b"".join(store.open(meta(10))) == b"second"
    assert store.newest() == meta(10, size=6)
