"""What is lent is held in one place, and its memory is free when it was taken."""

from __future__ import annotations

import gc
import weakref

import pytest

from TuckerSegLib.segmentation.lent import Lent


class Large:
    """Something whose end can be seen."""


def test_what_is_lent_lives_until_it_is_taken_whoever_may_ask_for_it_later():
    volume = Lent.holding(Large())
    later, seen = volume.lend, weakref.ref(volume.lend())
    assert later() is seen()
    taken = volume.take()
    assert taken is seen()
    del taken
    gc.collect()
    assert seen() is None
    with pytest.raises(LookupError, match="not held any more"):
        later()


def test_what_is_released_is_gone_and_may_be_released_again():
    volume = Lent.holding(Large())
    seen = weakref.ref(volume.lend())
    volume.release()
    volume.release()
    gc.collect()
    assert seen() is None


def test_what_is_on_its_way_is_asked_for_when_it_is_lent():
    asked = []
    volume = Lent(lambda: asked.append(0) or "here")
    assert asked == []
    assert volume.lend() == "here"
