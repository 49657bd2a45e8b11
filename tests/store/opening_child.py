"""Opens one binding again and again, in stores of its own, while another process promotes and demotes it.

Prints a line when it has begun, ends when its standard input does. All blocks were put before it started, so each of
them is present and right at every opening, whatever the other process is at.

    python opening_child.py ROOT
"""

from __future__ import annotations

import select
import sys
from pathlib import Path

from store_content import BLOCK_BYTES, check_all, make_content, read

from kacheryfs.store.blocks import Store

CONTENT = make_content(2 * BLOCK_BYTES + 100)


def main(root: Path) -> None:
    n_openings = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        store = Store(root, min_free_fraction=0)
        file = store.open(CONTENT.proof())
        assert check_all(file) == [True] * 3, "a hole was seen"
        assert read(file, 0, len(CONTENT.data)) == CONTENT.data
        file.close()
        store.close()
        n_openings += 1
        if n_openings == 1:
            print("begun", flush=True)
    print(n_openings, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
