"""A program that compares files with their originals: ``compare_whole.py PATH ORIGINAL [PATH ORIGINAL …]``."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    words = sys.argv[1:]
    pairs = zip(words[::2], words[1::2], strict=True)
    wrong = [path for path, original in pairs if Path(path).read_bytes() != Path(original).read_bytes()]
    print("\n".join(f"{path} is not as its original" for path in wrong))
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())
