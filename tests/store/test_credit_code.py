"""GB 32100-2015: the last character proves the seventeen before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from app.store.credit_code import ALPHABET, WrongCreditCode, check_character, checked

STEMS = some.text(alphabet=ALPHABET, min_size=17, max_size=17)


@pytest.mark.parametrize("code", ["91445300MA4UXXXX0J", "91445303MA4UQ7KJ3D", "91445302MA4UTEE01U"])
def test_a_sound_code_is_itself(code: str) -> None:
    assert checked(code) == code


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("91445300MA4UXXXX0K", "the check character is K and should be J"),
        ("91445300MA4UXXXX0", "it has 17 characters and should have 18"),
        ("", "it has 0 characters"),
        ("91445300MA4UXXXX0JJ", "it has 19 characters"),
        ("91445300MA4UXXXXIJ", "I cannot be in it"),
        ("91445300ma4uxxxx0j", "a j m u x cannot be in it"),
        ("９1445300MA4UXXXX0J", "９ cannot be in it"),
    ],
)
def test_what_is_wrong_with_a_code_is_said(code: str, why: str) -> None:
    with pytest.raises(WrongCreditCode, match=why):
        checked(code)


@given(STEMS, some.integers(0, 16), some.sampled_from(ALPHABET))
def test_one_wrong_character_never_goes_unseen(stem: str, place: int, other: str) -> None:
    code = stem + check_character(stem)
    spoiled = code[:place] + other + code[place + 1 :]
    assert checked(code) == code
    if spoiled != code:
        with pytest.raises(WrongCreditCode):
            checked(spoiled)


@given(STEMS, some.integers(0, 15))
def test_two_neighbours_changed_about_never_go_unseen(stem: str, place: int) -> None:
    code = stem + check_character(stem)
    turned = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    if turned != code:
        with pytest.raises(WrongCreditCode):
            checked(turned)
