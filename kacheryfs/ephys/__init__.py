"""SpikeInterface's objects as links: recordings, sortings and analyzers shared in place, and loaded from peers.

A shared recording is a tree: the files that it reads, under their real names; ``recording.json``, SpikeInterface's own
description with relative paths, for stock ``si.load`` from a mount; ``kacheryfs.json`` and ``kacheryfs/*.npz``, by
which ``load_recording`` reads flat files and datasets of HDF5 without the format's reader, and gives back what JSON
loses (dtypes, structured or mixed properties, long time vectors, annotations that are no JSON). Sharing opens the
recording anew twice, in a process of its own, and compares traces: from the description, which tells the files; and
from the finished tree, as others will.

sharing                 share_recording (sharing_json: the chain as stock reads it; _paths: names in the tree, none of
                        this machine's; _layouts, _hdf5: where samples stand, proven; _memory: saved first; _remote:
                        what was loaded from links; _files, _summary, _progress)
replaying, replay_child the process that opens the recording under an audit hook, and what it is asked (replay_start,
                        _forks: a copy of a program that has imported SpikeInterface before)
layouts, describing     kacheryfs.json: where the samples under a recording stand in files; its strict parse
spans                   some seconds of a recording as bytes of its flat files
metadata                what a recording knows besides its traces, as an npz without pickles
fields                  a parsed JSON object, taken apart strictly
recognising             is this folder or file a recording? (`kacheryfs share` asks)

loading                 load_recording (loading_leaves: what reads files: by layout, file object, store or mount;
                        _binary: SpikeInterface's flat formats; _files: one file; _folder, _mounted, _hints)
remote                  recordings of links, which survive pickles and processes (remote_samples: flat files by pread;
                        _hdf5, _datasets: HDF5 of any format, by h5py on a file object; _nwb: NWB; _zarr: a store of a
                        tree; _source: where a file comes from; hdf5_library: h5py, asked for by those alone)
safety                  what of a stranger's description may be built, and why (safety_classes, _extractors, _filters,
                        _steps, _chains: the table; _kinds, _paths: arguments; _json: bounds; _building: out of the
                        table; _probes, _hdf5, _zarr: what files say; _local: folders of this machine)

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
