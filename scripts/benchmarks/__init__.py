"""The benchmark behind ``scripts/bench``: kacheryfs beside other programs and the local file, one machine, one run.

``line`` and ``table`` decide and are pure; ``proxy``, ``synthetic``, ``torrent`` and ``reader`` are programs of their
own, so that nobody's interpreter lock stands in somebody else's time; ``peers``, ``swarm``, ``bittorrent``, ``rclone``
and ``web`` start what is measured; ``rows_*`` measure; ``__main__`` chooses the rows and writes the table.
"""
