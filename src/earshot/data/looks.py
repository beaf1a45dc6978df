"""What a picture looks like in 64 bits, and finding the pictures that look alike without comparing every two.

Axes: n hashes of one set, m of another, k matches.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, UInt64
from PIL import Image
from scipy.fft import dctn

from earshot.errors import InputError

_BANDS = 4
_BAND_BITS = 16
_CELLS = 2**22
"""Candidates compared at once."""


def perceptual_hash(image: Image.Image) -> int:
    """64 bits of what a picture looks like: the signs of its lowest frequencies about their median.

    The picture is made grey and 32 by 32, and of its two-dimensional cosine transform the 8 by 8 lowest coefficients
    are compared with their median. Another size, another compression, a little noise leave most bits as they are.

    Source: the "pHash" of Zauner 2010 as the ImageHash package computes it (`imagehash.phash`), bit for bit.
    """
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float64)
    low = dctn(grey, type=2)[:8, :8]
    bits = (low > np.median(low)).ravel()
    return int(np.packbits(bits).view(">u8")[0])


def near_pairs(
    test: UInt64[np.ndarray, " n"], train: UInt64[np.ndarray, " m"], distance: int
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Every two hashes, one of each set, that differ in at most so many bits; and in how many they do.

    Of 4 bands of 16 bits, hashes that differ in at most d bits have one that differs in at most d // 4. Each band of
    the training set is sorted, each band of a test hash looked up in it with every such change made (1 of them for a
    distance up to 3, 17 up to 7, 137 up to 11, 697 up to 15), and what is found is compared whole. Two sets of a
    million different hashes meet some 15 candidates a look-up, instead of a million.

    Source: Norouzi, Punjani and Fleet 2012 (CVPR), multi-index hashing.

    Raises:
        InputError: The distance is outside 0 to 15.
    """
    if not 0 <= distance <= 15:
        raise InputError(f"a distance of {distance} bits of 64 was asked for, expected 0 to 15; 6 is the default")
    found: list[tuple[np.ndarray, np.ndarray]] = []
    changes = _changes(distance // _BANDS)
    for band in range(_BANDS):
        shift = np.uint64(band * _BAND_BITS)
        mask = np.uint64(2**_BAND_BITS - 1)
        train_band = (train >> shift) & mask
        order = np.argsort(train_band, kind="stable")
        starts = np.searchsorted(train_band[order], np.arange(2**_BAND_BITS + 1, dtype=np.uint64))
        test_band = ((test >> shift) & mask).astype(np.int64)
        for change in changes:
            low, high = starts[test_band ^ change], starts[(test_band ^ change) + 1]
            found += _close(test, train, order, low, high, distance)
    if not found:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing
    one, two = (np.concatenate(column) for column in zip(*found, strict=True))
    code = np.unique(one * max(1, len(train)) + two)
    one, two = code // max(1, len(train)), code % max(1, len(train))
    return one, two, np.bitwise_count(test[one] ^ train[two]).astype(np.int64)


def _close(
    test: np.ndarray, train: np.ndarray, order: np.ndarray, low: np.ndarray, high: np.ndarray, distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of the candidates order[low:high] of each test hash those within the distance, some millions at a time."""
    ends = np.cumsum(high - low)
    start = 0
    while start < len(test):
        base = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, base + _CELLS, side="right")))
        at, member = _ranges(low[start:stop], high[start:stop])
        at, candidate = at + start, order[member]
        near = np.bitwise_count(test[at] ^ train[candidate]) <= distance
        yield at[near], candidate[near]
        start = stop


def _ranges(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every number of low[j] .. high[j] - 1, and the j it is of."""
    counts = high - low
    at = np.repeat(np.arange(len(counts)), counts)
    offset = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
    return at, np.repeat(low, counts) + offset


def _changes(bits: int) -> list[int]:
    """Every number of 16 bits of which at most so many are set."""
    return [number for number in range(2**_BAND_BITS) if number.bit_count() <= bits]
