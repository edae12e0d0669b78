#!/usr/bin/env python3
"""dump-diff.py A B [tolerance] - names the first record whose values leave the reference.

A and B are files of rill-run --dump, of the same command on two builds, devices or instruction
sets (RILL_CPU), or of a reference implementation that writes the same form: a line "record name
rows columns", then rows x columns little-endian floats. A record leaves when its largest
difference exceeds tolerance (default 1e-3) times the largest value of A's record. Exit status 1
when one does. Standard library only.
"""
import array
import sys


def records(path):
    with open(path, "rb") as f:
        while True:
            head = f.readline()
            if not head:
                return
            number, name, rows, cols = head.split()
            data = array.array("f")
            data.frombytes(f.read(4 * int(rows) * int(cols)))
            if sys.byteorder == "big":
                data.byteswap()
            yield (int(number), name.decode(), int(rows), int(cols)), data


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    tolerance = float(sys.argv[3]) if len(sys.argv) == 4 else 1e-3
    worst = 0.0
    step, last = 0, -1
    for (ka, a), (kb, b) in zip(records(sys.argv[1]), records(sys.argv[2])):
        step += ka[0] <= last
        last = ka[0]
        if ka != kb:
            print(f"step {step}: record {ka} in the first, {kb} in the second")
            sys.exit(1)
        size = max((abs(x) for x in a), default=0.0) or 1.0
        away = max((abs(x - y) if x == x and y == y else float("inf") for x, y in zip(a, b)),
                   default=0.0)
        worst = max(worst, away / size)
        if away > tolerance * size:
            at = max(range(len(a)), key=lambda i: abs(a[i] - b[i]))
            print(f"step {step}, record {ka[0]} ({ka[1]}, {ka[2]} x {ka[3]}) leaves: "
                  f"row {at // ka[3]}, column {at % ka[3]}: {a[at]:.6g} and {b[at]:.6g}")
            sys.exit(1)
    print(f"the same within {worst:.3g}")


main()
