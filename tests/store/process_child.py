"""One of several processes on one store: puts all blocks in its own order, reads what others put, then proves.

python process_child.py ROOT SEED
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from store_content import BLOCK_BYTES, make_content, read

from kacheryfs.store.blocks import Store

CONTENT = make_content(40 * BLOCK_BYTES + 77)
SMALL = [make_content(100 + number, seed=number) for number in range(20)]


def main(root: Path, seed: int) -> None:
    rng = random.Random(seed)
    store = Store(root, min_free_fraction=0)
    file = store.open(CONTENT.proof())
    for index in rng.sample(range(CONTENT.n_blocks), CONTENT.n_blocks):
        if not (file.is_present(index) and file.check(index)):
            assert file.put(CONTENT.verified(index))
        other = rng.randrange(CONTENT.n_blocks)
        if file.is_present(other):
            assert file.check(other), "present and wrong"
            start = other * BLOCK_BYTES
            assert read(file, start, start + 50) == CONTENT.block(other)[:50]
    for content in rng.sample(SMALL, len(SMALL)):
        small = store.open(content.proof())
        small.put(content.verified(0))
        assert small.prove()
        small.close()
    assert file.prove()
    assert file.is_proven
    file.close()
    store.close()
    print("proven")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
