"""The program of each platform, in machine code."""

import struct

HELLO = b"Hello from the sample image.\n"
CODE = {
    "amd64": bytes.fromhex(
        "b801000000"  # mov eax, 1 (write)
        "bf01000000"  # mov edi, 1
        "488d3510000000"  # lea rsi, [rip+16]
        "ba1d000000"  # mov edx, 29
        "0f05"  # syscall
        "b83c000000"  # mov eax, 60 (exit)
        "31ff"  # xor edi, edi
        "0f05"  # syscall
    ),
    "arm64": bytes.fromhex(
        "200080d2"  # mov x0, #1
        "e1000010"  # adr x1, .+28
        "a20380d2"  # mov x2, #29
        "080880d2"  # mov x8, #64 (write)
        "010000d4"  # svc #0
        "000080d2"  # mov x0, #0
        "a80b80d2"  # mov x8, #93 (exit)
        "010000d4"  # svc #0
    ),
}
ELF_MACHINE = {"amd64": 62, "arm64": 183}


def program(architecture):
    """Returns a static ELF executable without a C library, which prints a greeting and exits."""
    body = CODE[architecture] + HELLO
    base, start = 0x400000, 0x78
    return (
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        + struct.pack("<HHIQQQIHHHHHH", 2, ELF_MACHINE[architecture], 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, start + len(body), start + len(body), 0x10000)
        + body
    )
