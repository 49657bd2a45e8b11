"""h5py on a file object that another thread serves, while the collector runs there: neither waits for the other."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, io, queue, sys, threading
import h5py, numpy as np

if sys.argv[1] == "kept apart":
    from kacheryfs.app.garbage import keep_from_h5py
    keep_from_h5py()

made = io.BytesIO()
with h5py.File(made, "w") as file:
    for i in range(200):
        file[f"g{i}/d"] = np.arange(1000)
data, asked = made.getvalue(), queue.Queue()

class Circle:
    def __init__(self, what=None):
        self.me, self.what = self, what

def serve():
    while True:
        start, n_bytes, answer = asked.get()
        for _ in range(300):
            Circle()
        gc.collect()
        answer.put(data[start : start + n_bytes])

threading.Thread(target=serve, daemon=True).start()

class Served(io.RawIOBase):
    place = 0
    def readable(self): return True
    def seekable(self): return True
    def tell(self): return self.place
    def seek(self, offset, whence=0):
        self.place = {0: 0, 1: self.place, 2: len(data)}[whence] + offset
        return self.place
    def readinto(self, buffer):
        answer = queue.Queue()
        asked.put((self.place, len(buffer), answer))
        found = answer.get()
        buffer[: len(found)] = found
        self.place += len(found)
        return len(found)

with h5py.File(Served(), "r") as file:
    for i in range(200):
        Circle(file[f"g{i}/d"]).what[0]
gc.collect()
print("read", gc.get_freeze_count(), sum(isinstance(each, Circle) for each in gc.get_objects()))
"""


def test_a_collection_in_the_serving_thread_does_not_stop_h5py() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "kept apart"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["read", "0", "0"], "nothing stays put aside, and all garbage goes in the end"
