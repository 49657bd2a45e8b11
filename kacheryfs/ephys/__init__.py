"""SpikeInterface's objects as links: recordings, sortings and analyzers shared in place, and loaded from peers.

layouts, describing     kacheryfs.json of a shared recording: which flat binary files lie under it, and how
fields                  a parsed JSON object, taken apart strictly
"""
