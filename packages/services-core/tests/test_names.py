"""Names are checked, and those of replicas lead back to their service."""

from __future__ import annotations

import pytest

from services_core import InvalidNameError
from services_core.names import check_name, replica_name, split_replica


@pytest.mark.parametrize("service", ["a", "a#b", "a\nb", "x#replica-", "x#replica-0"])
def test_a_replicas_name_leads_back_to_its_service(service: str) -> None:
    assert check_name("service name", service) == service
    for index in (0, 1, 12):
        assert split_replica(replica_name(service, index)) == (service, index)


def test_the_first_replica_has_the_services_own_name() -> None:
    assert replica_name("tokenizer", 0) == "tokenizer"


@pytest.mark.parametrize("name", ["x#replica-1", "x\ny#replica-10", replica_name("x", 3)])
def test_a_replicas_name_is_nobody_elses(name: str) -> None:
    with pytest.raises(InvalidNameError):
        check_name("service name", name)
