"""A session and its branches have one key."""

import pytest

from python_executor import session_key


@pytest.mark.parametrize(
    ("session", "key"),
    [
        ("env-7", "env-7"),
        ("env-7/branch-1", "env-7"),
        ("env-7/branch-1/branch-2", "env-7"),
        ("env-77", "env-77"),
        ("/branch", ""),
        ("", ""),
    ],
)
def test_the_key_of_a_session_is_its_name_up_to_the_first_slash(session: str, key: str) -> None:
    assert session_key(session) == key
