"""Holds a bound of a store until it is killed: ``held_bound_child.py STORE BYTES``."""

import sys
import time
from pathlib import Path

from kacheryfs.core.quantities import CacheSize
from kacheryfs.store.blocks import Store

if __name__ == "__main__":
    Store(Path(sys.argv[1]), cache_size=CacheSize(n_bytes=int(sys.argv[2]))).cache.hold_bound()
    print("holds", flush=True)
    time.sleep(600)
