"""gzip and zstd encoders. A library's output would change with its version, and so the digest."""

import re
import struct
import zlib


def deflate(data):
    """Compresses into one block of fixed Huffman codes (RFC 1951).

    Finds matches by the last position of each three bytes.
    """
    out, held, count = bytearray(), 0, 0

    def put(value, width):
        nonlocal held, count
        held |= value << count
        count += width
        while count >= 8:
            out.append(held & 255)
            held >>= 8
            count -= 8

    def put_code(code, width):
        put(int(f"{code:0{width}b}"[::-1], 2), width)

    def put_symbol(symbol):
        if symbol < 144:
            put_code(0x30 + symbol, 8)
        elif symbol < 256:
            put_code(0x190 + symbol - 144, 9)
        elif symbol < 280:
            put_code(symbol - 256, 7)
        else:
            put_code(0xC0 + symbol - 280, 8)

    def split(value, steps):
        """Splits `value` into a code, the number of extra bits, and their value.

        There are `steps` codes for each number of extra bits.
        """
        extra = max(value.bit_length() - steps.bit_length(), 0)
        return extra * steps + (value >> extra), extra, value & ((1 << extra) - 1)

    put(0b011, 3)
    seen, at = {}, 0
    while at < len(data):
        key, length = data[at : at + 3], 0
        start = seen.get(key, -1) if len(key) == 3 else -1
        if start >= 0 and at - start <= 32768:
            while length < 257 and at + length < len(data) and data[start + length] == data[at + length]:
                length += 1
        seen[key] = at
        if length < 3:
            put_symbol(data[at])
            at += 1
            continue
        code, extra, rest = split(length - 3, 4)
        put_symbol(257 + code)
        put(rest, extra)
        code, extra, rest = split(at - start - 1, 2)
        put_code(code, 5)
        put(rest, extra)
        at += length
    put_symbol(256)
    put(0, 7)
    return bytes(out)


def gzip_member(data):
    return b"\x1f\x8b\x08" + bytes(7) + deflate(data) + struct.pack("<II", zlib.crc32(data), len(data))


def zstd_frame(data):
    """Compresses into raw and run-length blocks (RFC 8878): a tar is mostly runs of zeros."""
    blocks, at = [], 0
    for run in re.finditer(rb"(.)\1{15,}", data, re.DOTALL):
        if run.start() > at:
            blocks.append((0, run.start() - at, data[at : run.start()]))
        blocks.append((1, run.end() - run.start(), run[1]))
        at = run.end()
    blocks.append((0, len(data) - at, data[at:]))
    assert all(size <= 128 << 10 for _, size, _ in blocks)
    out = struct.pack("<IBI", 0xFD2FB528, 0xA0, len(data))
    for index, (kind, size, body) in enumerate(blocks):
        last = index == len(blocks) - 1
        out += (last | kind << 1 | size << 3).to_bytes(3, "little") + body
    return out


def zstd_skippable(note):
    return struct.pack("<II", 0x184D2A50, len(note)) + note
