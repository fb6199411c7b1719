"""The unified social credit code of an enterprise and its check character (GB 32100-2015)."""

from __future__ import annotations

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
"""Digits and capital letters without I, O, S, V and Z."""
LENGTH = 18


class WrongCreditCode(ValueError):
    """The code cannot be an enterprise's. Attributes: code, why."""

    def __init__(self, code: str, why: str) -> None:
        self.code, self.why = code, why
        super().__init__(f"credit code {code!r}: {why}")


def check_character(first17: str) -> str:
    """The 18th character: weights 3^(i-1) mod 31 over the first seventeen, complement to 31."""
    total = sum(ALPHABET.index(letter) * pow(3, place, 31) for place, letter in enumerate(first17))
    return ALPHABET[-total % 31]


def checked(code: str) -> str:
    """The code if it is sound. Raises WrongCreditCode, which names the check character that would be right."""
    if len(code) != LENGTH:
        raise WrongCreditCode(code, f"it has {len(code)} characters and should have {LENGTH}")
    strange = sorted(set(code) - set(ALPHABET))
    if strange:
        raise WrongCreditCode(
            code, f"{' '.join(strange)} cannot be in it; allowed are digits and capitals without I O S V Z"
        )
    right = check_character(code[:-1])
    if code[-1] != right:
        raise WrongCreditCode(code, f"the check character is {code[-1]} and should be {right}")
    return code
