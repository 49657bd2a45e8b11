"""The benchmark behind ``scripts/bench``: kacheryfs beside curl, rclone and the local file, in one run on one machine.

``line`` and ``table`` decide and are pure; ``proxy``, ``synthetic`` and ``reader`` are programs of their own, so that
nobody's interpreter lock stands in somebody else's time; ``peers``, ``rclone`` and ``web`` start what is measured;
``rows_*`` measure; ``__main__`` chooses the rows and writes the table.
"""
