"""Prints the golden values of random.rs, label_shuffle.rs, and subset.rs.

ChaCha with 8 rounds after D. J. Bernstein, written without any library.
"""

import struct

MASK = 0xFFFFFFFF


def quarter(s, a, b, c, d):
    for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & MASK
        mixed = s[z] ^ s[x]
        s[z] = ((mixed << turn) | (mixed >> (32 - turn))) & MASK


def words(seed, purpose, epoch, index):
    key = struct.unpack("<8I", struct.pack("<4Q", seed, purpose, epoch, 0))
    counter = 0
    while True:
        block = struct.unpack("<4I", b"expand 32-byte k") + key + struct.unpack("<4I", struct.pack("<2Q", counter, index))
        s = list(block)
        for _ in range(4):
            for column in range(4):
                quarter(s, column, 4 + column, 8 + column, 12 + column)
            for start in range(4):
                quarter(s, start, 4 + (start + 1) % 4, 8 + (start + 2) % 4, 12 + (start + 3) % 4)
        yield from ((a + b) & MASK for a, b in zip(s, block))
        counter += 1


def below(source, bound):
    while True:
        low = next(source)
        product = (low | next(source) << 32) * bound
        if product % 2**64 >= 2**64 % bound:
            return product >> 64


source = words(7, 1, 3, 5)
print([next(source) for _ in range(4)])
# The order of an epoch in random.rs, the first two shuffles in label_shuffle.rs, and the choice in subset.rs.
for seed, purpose, epoch in ((1, 1, 0), (1, 7, 1), (1, 7, 2), (0, 8, 0)):
    source, order = words(seed, purpose, epoch, 0), list(range(10))
    for last in range(9, 0, -1):
        other = below(source, last + 1)
        order[last], order[other] = order[other], order[last]
    print(order)
