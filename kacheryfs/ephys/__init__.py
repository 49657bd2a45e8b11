"""SpikeInterface's objects as links: recordings, sortings and analyzers shared in place, and loaded from peers.

layouts, describing     kacheryfs.json of a shared recording: which flat binary files lie under it, and how
fields                  a parsed JSON object, taken apart strictly

sortings                share_sorting, load_sorting: one safe form for every kind of sorting, which is a numpy folder to
                        stock SpikeInterface (_describing, _files: what is written; _reading: what is read)
analyzers               share_analyzer, load_analyzer (_files, _zarr: what of a folder is shared; _reading: how it comes
                        into memory without stock's loaders; _loaded: the analyzer that comes of it)
values, npy, scrubbing  Python's values as strict JSON; arrays without pickles; paths cut down to their last names
treefiles, made         the files of a tree, fetched; a tree of made files and originals, offered
"""
