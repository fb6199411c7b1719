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


@dataclass(frozen=True, slots=True)
class Wide:
    """n exact numbers that can be added up by the thousand: Σ limbs[i] × 10^(8·i − places).

    Limbs are int64, lowest first, may be negative and need not be carried. `places` is a multiple of eight. Sums of
    fewer than 10^10 carried numbers fit.
    """

    limbs: list[Int64s]
    places: int

    def __len__(self) -> int:
        return len(self.limbs[0])

    def __getitem__(self, chosen: Int64s) -> Wide:
        return Wide([limb[chosen] for limb in self.limbs], self.places)

    def grouped(self, starts: Int64s) -> Wide:
        """The sums of the runs of rows that begin at `starts`, which ascend from 0."""
        return Wide([np.add.reduceat(limb, starts) for limb in self.limbs], self.places)

    def gathered(self, group: Int64s, count: int) -> Wide:
        """`count` sums: row i goes into the one numbered `group[i]`."""
        return Wide([added_up(limb, group, count) for limb in self.limbs], self.places)

    def times(self, signs: Int64s) -> Wide:
        """Each row times its own small whole number."""
        return Wide([limb * signs for limb in self.limbs], self.places)

    def at_places(self, places: int) -> Wide:
        """The same numbers with at least so many decimal places."""
        more = max(0, -(-(places - self.places) // _PLACES_A_LIMB))
        zeros = [np.zeros(len(self), np.int64) for _ in range(more)]
        return Wide([*zeros, *self.limbs], self.places + more * _PLACES_A_LIMB)

    def followed_by(self, other: Wide) -> Wide:
        """These rows and then those."""
        places = max(self.places, other.places)
        one, two = self.at_places(places), other.at_places(places)
        count = max(len(one.limbs), len(two.limbs))
        return Wide(
            [np.concatenate([one._limb(i), two._limb(i)]) for i in range(count)],
            places,
        )

    def _limb(self, i: int) -> Int64s:
        return self.limbs[i] if i < len(self.limbs) else np.zeros(len(self), np.int64)

    def numerics(self) -> Numerics:
        """The numbers as PostgreSQL takes them."""
        if all(_is_carried(limb) for limb in self.limbs):
            return Numerics(_digits(self.limbs), np.zeros(len(self), np.uint16), self.places)
        limbs = _carried([*(limb.copy() for limb in self.limbs), np.zeros(len(self), np.int64)])
        negative = limbs[-1] < 0
        if bool(negative.any()):
            limbs = _carried([np.where(negative, -limb, limb) for limb in limbs])
        return Numerics(_digits(limbs), np.where(negative, _NEGATIVE, 0).astype(np.uint16), self.places)


def wide(numbers: Sequence[Decimal], places: int = 0) -> Wide:
    """Decimals as numbers to add up, with at least so many places."""
    scaled, found = _scaled([*numbers, Decimal((0, (0,), -places))])
    whole = np.array(scaled[:-1], object)
    signs = np.array([-1 if number < 0 else 1 for number in scaled[:-1]], np.int64)
    return Wide([limb * signs for limb in _limbs(np.abs(whole))], found)


def added_up(numbers: Int64s | npt.NDArray[np.bool_], group: Int64s, count: int) -> Int64s:
    """`count` sums: number i goes into the one numbered `group[i]`."""
    sums = np.zeros(count, np.int64)
    np.add.at(sums, group, numbers)
    return sums


def wide_products(
    whole: npt.NDArray[np.int64] | npt.NDArray[np.object_], columns: Sequence[Sequence[Decimal]], which: Int64s
) -> tuple[Wide, ...]:
    """For each column of factors whole[i] × factors[which[i]], exact.

    `whole` int64, or objects where a number is beyond 63 bits.
    """
    below = np.asarray(whole < 0)
    left = _limbs(np.abs(whole))
    return tuple(_product(left, below, factors, which) for factors in columns)


def _product(left: list[Int64s], below: npt.NDArray[np.bool_], factors: Sequence[Decimal], which: Int64s) -> Wide:
    """The numbers of these limbs, negative where `below` says so, times their factors."""
    scaled, places = _scaled(factors)
    limbs = _convolved(left, _limbs(np.array([abs(factor) for factor in scaled], object)), which)
    number = np.array([factor < 0 for factor in scaled] or [False], np.bool_)
    negative = below != number[which] if bool(number.any()) else below
    if bool(negative.any()):
        limbs = [np.where(negative, -limb, limb) for limb in limbs]
    return Wide(limbs, places)


def products(
    whole: npt.NDArray[np.int64] | npt.NDArray[np.object_], factors: Sequence[Decimal], which: Int64s
) -> Numerics:
    """whole[i] × factors[which[i]], exact, as PostgreSQL takes them."""
    return wide_products(whole, [factors], which)[0].numerics()


def _scaled(factors: Sequence[Decimal]) -> tuple[list[int], int]:
    """The factors as whole numbers of 10^-places; places is a multiple of eight, so that limbs and digits line up."""
    lowest = min((int(factor.as_tuple().exponent) for factor in factors), default=0)
    places = -(-max(0, -lowest) // _PLACES_A_LIMB) * _PLACES_A_LIMB
    return [int(EXACT.scaleb(factor, places)) for factor in factors], places


def _limbs(whole: npt.NDArray[np.int64] | npt.NDArray[np.object_]) -> list[Int64s]:
    """Limbs to the base 10^8, lowest first, of numbers that are not negative."""
    limbs: list[Int64s] = []
    while not limbs or bool(np.any(whole)):
        rest = whole // _LIMB
        limbs.append((whole - rest * _LIMB).astype(np.int64))
        whole = rest
    return limbs


def _convolved(left: list[Int64s], right: list[Int64s], which: Int64s) -> list[Int64s]:
    """Limbs of left × right[which]. A place sums far fewer than 900 products below 10^16, so 63 bits never overflow."""
    places: list[Int64s | None] = [None] * (len(left) + len(right))
    for j, factor in enumerate(right):
        chosen = factor[which] if len(factor) > 1 else factor
        for i, limb in enumerate(left):
            product, there = limb * chosen, places[i + j]
            places[i + j] = product if there is None else np.add(there, product, out=product)
    return _carried([np.zeros(len(which), np.int64) if place is None else place for place in places])


def _carried(limbs: list[Int64s]) -> list[Int64s]:
    """The same numbers with every limb but the highest from 0 to 10^8 - 1. Changes the arrays; zeros on top go."""
    for i in range(len(limbs) - 1):
        carry = limbs[i] // _LIMB
        limbs[i] -= carry * _LIMB
        limbs[i + 1] += carry
    while len(limbs) > 1 and not bool(limbs[-1].any()):
        limbs.pop()
    return limbs


def _is_carried(limb: Int64s) -> bool:
    return not len(limb) or (int(limb.min()) >= 0 and int(limb.max()) < _LIMB)


def _digits(limbs: list[Int64s]) -> npt.NDArray[np.uint16]:
    digits = np.empty((len(limbs[0]), 2 * len(limbs)), np.uint16)
    for i, wide_limb in enumerate(reversed(limbs)):
        limb = wide_limb.astype(np.uint32)
        high = limb // _DIGIT
        digits[:, 2 * i] = high
        digits[:, 2 * i + 1] = limb - high * _DIGIT
    return digits
