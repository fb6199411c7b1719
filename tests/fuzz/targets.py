"""What must hold for any bytes whatever. Each target raises AssertionError, or what the code under it lets slip."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import zstandard

from ingest.batch import Door, Received
from ingest.decode import Decoded, Malformed, Sheaf, TooLarge, decode, decode_many, inflate, sheaf_of
from ingest.packet import V5, V311, Connect, Packet, PacketReader, encode
from ingest.wire import CSV_TYPE, JSON_TYPE

NOW_US = 1_795_482_900_000_000
RAW_MOST = 1 << 16
READINGS_MOST = RAW_MOST


def json_message(data: bytes) -> None:
    """A message in one of the three JSON forms, alone and between others."""
    _decodes(data, JSON_TYPE)


def csv_message(data: bytes) -> None:
    _decodes(data, CSV_TYPE)


def packed(data: bytes) -> None:
    """A gzip or zstd body: what unpacks is whole, stays below the limit and can be packed and unpacked again."""
    if not data:
        return
    encoding, pack = PACKERS[data[0] % len(PACKERS)]
    _decodes(data[1:], f"{CSV_TYPE}; encoding={encoding}")
    try:
        plain = inflate(data[1:], encoding, RAW_MOST)
    except (Malformed, TooLarge):
        return
    assert len(plain) <= RAW_MOST
    assert inflate(pack(plain), encoding, RAW_MOST) == plain
    for left in range(2, len(data)):
        try:
            part = inflate(data[1:left], encoding, RAW_MOST)
        except Malformed:
            continue
        assert plain.startswith(part)
        assert inflate(data[left:], encoding, RAW_MOST) == plain[len(part) :], "a part passes for the whole"


PACKERS: Sequence[tuple[str, Callable[[bytes], bytes]]] = (("gzip", gzip.compress), ("zstd", zstandard.compress))


def _decodes(data: bytes, content_type: str) -> None:
    """Every reading of it is a row or a refusal, and company changes nothing."""
    one = Received(Door.BROKER, "gw-1", None, content_type, data, NOW_US)
    alone = decode(one, RAW_MOST)
    _sound(alone)
    plain = Received(Door.BROKER, "gw-1", None, JSON_TYPE, PLAIN, NOW_US)
    company = [plain, one, plain, one]
    _same(decode_many(company, RAW_MOST), sheaf_of([decode(each, RAW_MOST) for each in company]))


PLAIN = b'{"v":1,"seq":7,"meters":["E001","E002"],"t":[1795396500000,1795396500000],"values":[1,2.5]}'


def _sound(decoded: Decoded) -> None:
    rows = len(decoded.meters)
    assert len(decoded.at_us) == len(decoded.value) == rows
    assert np.isfinite(decoded.value).all()
    assert decoded.quality is None or (len(decoded.quality) == rows and set(decoded.quality.tolist()) <= {0, 1, 2, 3})
    assert decoded.readings <= READINGS_MOST
    places = [*(range(rows) if decoded.position is None else decoded.position.tolist())]
    places += [refusal.position for refusal in decoded.refusals if refusal.position is not None]
    assert len(set(places)) == len(places), "two verdicts for one reading"
    assert all(refusal.detail for refusal in decoded.refusals), "a refusal that says nothing"
    assert all(meter.isprintable() or meter for meter in decoded.meters)


def _same(quick: Sheaf, slow: Sheaf) -> None:
    assert (quick.seqs, quick.revise, quick.sizes, quick.meters) == (slow.seqs, slow.revise, slow.sizes, slow.meters)
    assert quick.refusals == slow.refusals
    assert np.array_equal(quick.at_us, slow.at_us)
    assert np.array_equal(quick.value, slow.value)
    assert _column(quick.quality, quick) == _column(slow.quality, slow)


def _column(quality: npt.NDArray[np.int16] | None, sheaf: Sheaf) -> list[int]:
    return [0] * len(sheaf.meters) if quality is None else quality.tolist()


def frames(data: bytes) -> None:
    """A stream of MQTT packets: however it is cut it reads the same, and what was read can be written again."""
    if not data:
        return
    version = (None, V311, V5)[data[0] % 3]
    stream = data[1:]
    whole, whole_error = _read(version, [stream])
    size = data[0] % 7 + 1
    cut, cut_error = _read(version, [stream[at : at + size] for at in range(0, len(stream), size)])
    assert cut == whole
    assert type(cut_error) is type(whole_error)
    if version is not None:
        again, error = _read(version, [_written(whole, version)])
        assert error is None
        assert again == whole


def _written(packets: list[Packet], version: int) -> bytes:
    """All of them, each in the version that holds by then: a CONNECT names that of what follows."""
    written = b""
    for packet in packets:
        version = packet.version if isinstance(packet, Connect) else version
        written += encode(packet, version)
    return written


def _read(version: int | None, pieces: list[bytes]) -> tuple[list[Packet], Exception | None]:
    reader = PacketReader(version, packet_max=RAW_MOST)
    packets = [packet for piece in pieces for packet in reader.feed(piece)]
    assert reader.begun <= RAW_MOST + 5, "more is kept than one packet may be"
    return packets, reader.error


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "json": json_message,
    "csv": csv_message,
    "packed": packed,
    "frames": frames,
}
