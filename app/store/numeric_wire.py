"""Exact products of whole numbers and decimals, written straight in PostgreSQL's binary form of `numeric`.

A numeric travels as digits to the base 10,000, the place of the first one (weight), a sign and the number of decimal
places. An array of whole numbers times a few decimal factors becomes those digits in numpy: no Python object a row,
and nothing is rounded. PostgreSQL itself drops the zeros before and after (numeric_recv, make_result).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from energy.tce import EXACT

Int64s = npt.NDArray[np.int64]

_LIMB = 10**8
_PLACES_A_LIMB = 8
_DIGIT = 10**4
_NEGATIVE = 0x4000


@dataclass(frozen=True, slots=True)
class Numerics:
    """n values: `digits` uint16[n, d] to the base 10,000, highest first; `sign` uint16[n]; decimals = `places`."""

    digits: npt.NDArray[np.uint16]
    sign: npt.NDArray[np.uint16]
    places: int

    @property
    def weight(self) -> int:
        """The power of 10,000 the first digit stands for."""
        return int(self.digits.shape[1]) - 1 - self.places // 4


def exact_product(*factors: Decimal) -> Decimal:
    """The product, exact. Raises decimal.Inexact beyond 200 digits."""
    product = Decimal(1)
    for factor in factors:
        product = EXACT.multiply(product, factor)
    return product


def exact_sum(parts: Iterable[Decimal]) -> Decimal:
    """The sum, exact; 0 of nothing. Raises decimal.Inexact beyond 200 digits."""
    total = Decimal(0)
    for part in parts:
        total = EXACT.add(total, part)
    return total


def products(
    whole: npt.NDArray[np.int64] | npt.NDArray[np.object_], factors: Sequence[Decimal], which: Int64s
) -> Numerics:
    """whole[i] × factors[which[i]], exact. `whole` int64, or objects where a number is beyond 63 bits."""
    scaled, places = _scaled(factors)
    number = np.array([-1 if factor < 0 else 1 for factor in scaled] or [1], np.int64)[which]
    left, right = _limbs(np.abs(whole)), _limbs(np.array([abs(factor) for factor in scaled], object))
    limbs = _convolved(left, right, which)
    sign = np.where((np.asarray(whole < 0)) != (number < 0), _NEGATIVE, 0).astype(np.uint16)
    return Numerics(_digits(limbs), sign, places)


def _scaled(factors: Sequence[Decimal]) -> tuple[list[int], int]:
    """The factors as whole numbers of 10^-places; places is a multiple of eight, so that limbs and digits line up."""
    lowest = min((int(factor.as_tuple().exponent) for factor in factors), default=0)
    places = -(-max(0, -lowest) // _PLACES_A_LIMB) * _PLACES_A_LIMB
    return [int(EXACT.scaleb(factor, places)) for factor in factors], places


def _limbs(whole: npt.NDArray[np.int64] | npt.NDArray[np.object_]) -> list[Int64s]:
    """Limbs to the base 10^8, lowest first, of numbers that are not negative."""
    limbs: list[Int64s] = []
    while not limbs or bool(np.any(whole)):
        whole, limb = whole // _LIMB, whole % _LIMB
        limbs.append(limb.astype(np.int64))
    return limbs


def _convolved(left: list[Int64s], right: list[Int64s], which: Int64s) -> list[Int64s]:
    """Limbs of left × right[which]. A place sums far fewer than 900 products below 10^16, so 63 bits never overflow."""
    places: list[Int64s] = [np.zeros(len(which), np.int64) for _ in range(len(left) + len(right))]
    for j, factor in enumerate(right):
        chosen = factor[which] if len(factor) > 1 else factor
        for i, limb in enumerate(left):
            places[i + j] += limb * chosen
    for i in range(len(places) - 1):
        carry = places[i] // _LIMB
        places[i] -= carry * _LIMB
        places[i + 1] += carry
    return places


def _digits(limbs: list[Int64s]) -> npt.NDArray[np.uint16]:
    digits = np.empty((len(limbs[0]), 2 * len(limbs)), np.uint16)
    for i, limb in enumerate(reversed(limbs)):
        high = limb // _DIGIT
        digits[:, 2 * i] = high
        digits[:, 2 * i + 1] = limb - high * _DIGIT
    return digits
