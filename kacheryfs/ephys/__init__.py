"""SpikeInterface's objects as links: recordings, sortings and analyzers shared in place, and loaded from peers.

layouts, describing     kacheryfs.json of a shared recording: which flat binary files lie under it, and how
fields                  a parsed JSON object, taken apart strictly

sortings                share_sorting, load_sorting; _describing its kacheryfs.json, _files what is written, _reading what
                        is read: one safe form for every kind of sorting, a numpy folder to stock SpikeInterface
analyzers               share_analyzer, load_analyzer; _files and _zarr what of a folder is shared, _reading how a
                        stranger's comes into memory without stock's loaders, _loaded the analyzer that comes of it
values, npy, scrubbing  Python's values as strict JSON; arrays without pickles; paths cut down to their last names
treefiles, made         the files of a tree, fetched; a tree of made files and originals, offered
"""
