"""The least share of the cost that keeps an agreement is found in few looks."""

from __future__ import annotations

import pytest

from TuckerSegLib.models.agreement_search import least_share


@pytest.mark.parametrize("least", [0.15, 0.3, 0.62, 0.9])
def test_the_least_share_that_keeps_an_agreement_is_found_in_few_looks(least):
    looks = []

    def agreement_of(share):
        looks.append(share)
        return 1 - 0.03 * (least / share) ** 4

    share = least_share(agreement_of, 0.97, (0.1, 1.0), 4)
    assert least <= share <= least * 1.15
    assert len(looks) <= 4
    assert least_share(lambda _: 0.5, 0.9, (0.1, 0.5), 3) == 0.5
    assert least_share(lambda _: 1.0, 0.9, (0.1, 0.5), 3) < 0.2


def test_a_search_ends_where_a_network_spends_most_of_what_is_allowed():
    looks = []
    least_share(lambda share: looks.append(share) or 0.975, 0.97, (0.1, 1.0), 4)
    assert len(looks) == 1
