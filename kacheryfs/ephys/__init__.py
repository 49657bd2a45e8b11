"""SpikeInterface's objects as links: recordings, sortings and analyzers shared in place, and loaded from peers.

layouts, describing     kacheryfs.json of a shared recording: which flat binary files lie under it, and how
fields                  a parsed JSON object, taken apart strictly

sortings                share_sorting, load_sorting: one safe form for every kind of sorting, which is a numpy folder to
                        stock SpikeInterface (_describing, _files: what is written; _reading: what is read)
analyzers               share_analyzer, load_analyzer (_files, _zarr: what of a folder is shared; _reading: how it comes
                        into memory without stock's loaders; _loaded: the analyzer that comes of it)
values, npy, scrubbing  Python's values as strict JSON; arrays without pickles; paths cut down to their last names
treefiles, made         the files of a tree, fetched; a tree of made files and originals, offered

collections             kfs.Collection (collection_entries: made of links and objects; _summaries: what is read of them;
                        _items: as a user meets them; _reading: ours and the lineage's; _tables: shown; _links: named)
datasets                recipes: plan_dataset, build_dataset (dataset_formats: the extractors that a recipe may name,
                        out of the safe table; dataset_links: files behind a link described, not fetched)

lineage                 load_lineage_recording: what labbox-ephys, sortingview and SpikeForest described, as it is
                        (lineage_files: what their links name; _parts: channels and frames; _filters; _nwb)
lineage_sortings        load_lineage_sorting (lineage_spikes: checked and merged; _arrays: MDA and npz; _hdf5: h5_v1)
"""
