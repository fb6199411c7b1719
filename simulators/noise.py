"""Noise that depends on a key and a position alone, so a stream is the same however it is cut into pieces."""

import hashlib

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def key_of(*words: object) -> int:
    """A 64-bit key from any words; the same words give the same key in every process."""
    text = "\x1f".join(str(word) for word in words)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def uniform(key: int, position: Ints) -> Floats:
    """Independent numbers in [0, 1), one per position (splitmix64's finaliser over key and position)."""
    mixed = position.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= np.uint64(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def white(key: int, position: Ints) -> Floats:
    """Independent numbers in [-1, 1)."""
    return 2.0 * uniform(key, position) - 1.0


def smooth(key: int, position: Ints, span: int) -> Floats:
    """A slow wander in [-1, 1]: random knots every `span` positions, straight lines between them."""
    knot = position // span
    share = (position - knot * span) / span
    first = int(knot.min()) if knot.size else 0
    last = int(knot.max()) if knot.size else 0
    knots = white(key, np.arange(first, last + 2, dtype=np.int64))
    left = knots[knot - first]
    return left + (knots[knot - first + 1] - left) * share


def whole(key: int, low: int, high: int) -> int:
    """One whole number in [low, high]."""
    return low + key_of(key, "whole") % (high - low + 1)


def between(key: int, low: float, high: float) -> float:
    """One number in [low, high)."""
    return low + (high - low) * float(uniform(key, np.zeros(1, dtype=np.int64))[0])
