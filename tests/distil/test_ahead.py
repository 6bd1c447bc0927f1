"""Batches made in a thread come in their order, and the thread ends with whoever wanted them."""

import itertools
import threading

import pytest

from napari_medaka_kd.distil.ahead import made_ahead


def makers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_batches_come_in_their_order_and_end():
    assert list(made_ahead(iter(range(20)))) == list(range(20))
    assert list(made_ahead(iter(()))) == []
    assert not makers()


def test_two_are_made_before_they_are_wanted_and_no_more():
    made, third = [], threading.Event()

    def make():
        for number in itertools.count():
            made.append(number)
            if number == 2:
                third.set()
            yield number

    coming = made_ahead(make())
    assert next(coming) == 0
    assert third.wait(10)
    coming.close()
    assert made == [0, 1, 2]
    assert not makers()


def test_what_goes_wrong_in_the_thread_is_raised_where_the_batch_is_wanted():
    def make():
        yield 1
        raise OSError("the disk is gone")

    coming = made_ahead(make())
    assert next(coming) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(coming)
    assert not makers()
