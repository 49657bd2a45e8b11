"""Mount: a file system in which every file of a peer network stands under the SHA-1 of its content.

``vfs`` is what the mount shows and promises, without a kernel; ``fuse`` brings the kernel's requests to it and turns
errors into errnos; ``session`` makes a mount, tells that it can be used (``task_status.started``) and ends it;
``device`` mounts, ``handshake`` is what is agreed with the kernel,
``turnstile`` how its requests are waited for, ``mountpoint`` and ``mounts`` deal with what stands
on the machine. The engine is known by its Protocol (``engine``).

A name becomes a node (``names``, ``lookup``, ``listing``), a node an inode (``nodes``, ``inodes``), an inode a handle
(``openfiles``). ``collections`` knows what was opened, ``paths`` which files a path stands for. Only ``lookup`` and
``open`` ask the engine for a file, only a digest makes them, and what was located is not kept: the engine closes idle
files.

Semantics
=========
Each sentence is a promise, and each promise a test (``tests/mount``).

Names
-----
- The root lists ``README``, ``collections``, ``sha1`` and ``sha1dir``; ``sha1:`` and ``sha1dir:`` can be opened but
  are not listed.
- ``sha1/H`` and ``sha1/H.LABEL`` are the file whose SHA-1 is H, whatever the label.
- ``sha1:/H`` is a directory that lists nothing, asks nobody, and in which every name is a label of H.
- A name is cut at its last ``?manifest=<hex>`` and what stands before is percent-decoded; the manifest is the one that
  is asked for. A damaged manifest doesn't pass for a bare name: such a name doesn't exist.
- ``sha1:/H?manifest=M`` is the file itself, so that mountpoint + "/" + link is a path for every link.
- ``sha1dir/H`` and ``sha1dir/H.LABEL`` are the tree, with its real names; nothing is asked to walk and to list it.
- Below ``sha1dir:`` names may also be percent-encoded as in a link; a name as it stands comes first, so that what is
  listed is what is opened.
- ``ls sha1`` and ``ls sha1dir`` list what this machine knows; whatever a peer has can be opened all the same.
- What is no digest doesn't exist, and no peer is asked for it (``.git``, ``.hidden``, ``autorun.inf``).

Collections
-----------
- ``collections`` lists the open collections by their names, and asks nobody; no other name stands for anything.
- ``collections/NAME`` has ``collection.json``, the file behind the collection's link, ``recordings`` and ``sortings``.
  It is asked for when it is entered, proven by its SHA-1, and kept for as long as it is open.
- ``recordings`` and ``sortings`` list ids, which are names of folders; that asks nobody. ``recordings/ID`` is the
  tree, or the directory inside a tree, that the recording's link names: asked for when it is entered, its files
  ``linked``.
- Where the link names a single file, ``recordings/ID`` is a folder with that file, under the name that the link gives
  it (its digest where it gives none): whatever a link names, an id is a folder, and listing ids takes only the JSON.
- Opening, closing and replacing holds at once: the kernel asks for ``collections/NAME`` each time, and another link
  under the same name is another directory. What is open below the old one can be read to its end.
- Unreachable is EHOSTUNREACH, and asked for again a moment later; what is no collection is EIO.

Attributes
----------
- Nothing can be written: EROFS, whatever is tried; files are 0444 and directories 0555, of the user who mounted.
- All times are 2000-01-01; ``st_blocks`` covers the size; ``st_nlink`` is 1; ``st_blksize`` is a block.
- Inode numbers are given in order and never again; names of one content and one proof share one, a directory's belongs
  to one name (Linux lets a directory have no other).
- An inode never changes what proves it: where that changed, opening gives ESTALE, and Linux looks the name up again.
- What the kernel forgets is forgotten here, so that memory is bounded by what the kernel holds.
- The kernel may believe attributes for a day, those of a claim for two seconds, those of the root for one, those of a
  collection for none.
- ``user.kacheryfs.status`` (present/total bytes), ``.trust``, ``.manifest`` and ``.link`` stand on files and on the
  directories of trees, ``.trust`` and ``.link`` on collections, ``.link`` on a recording's folder of one file; any
  other of a user is ENODATA, one of the system (an ACL, a security context) ENOTSUP. A claimed manifest never gets
  into a link.
- ``statfs`` tells of no space, so that nothing is ever full.

Errors
------
- ENOENT: the name is no digest, or every peer answered and lacks it. EHOSTUNREACH: nobody had it, and some peer didn't
  answer. EACCES: only claims are there, and ``--require-manifest`` refuses them. EIO: peers disagree, a proof fails, or
  no peer could serve a read in time.
- A "no" is remembered for ``negative_ttl_s``, here and by the kernel; adding a peer ends the memory here.
- A failed read fails again at the same place for a second, without waiting: the kernel asks twice by itself. What is
  at hand of it is given, so that a reader gets to the last present byte though the kernel reads ahead of it.
- Every asker gets a fresh exception, and every failed request one line in the log.
- A fault in a handler is EIO for that request, and the mount goes on.

Reading
-------
- A read gives every byte asked for that the file has, or an error: never zeros, never a short read before the end.
- A read that fails is an OSError for ``pread`` and SIGBUS for ``mmap``.
- An empty file asks nobody; a tree that misstates a size is not believed.
- The kernel keeps pages, but not those of claims over ``whole_file_limit``.
- A claim that is proven false retires its inode, and the kernel drops its pages.
- A large file of an old tree, whose entry names no manifest, is only as good as what is claimed for it.
- Hundreds of waiting reads don't freeze the others, nor does a lookup that waits.
- SIGKILL and a default SIGINT free a waiting reader at once.

Beginning and end
-----------------
- A mountpoint is made if it is missing, and refused in one line if it is a file, not empty, or mounted already.
- What a crash left there is cleared.
- SIGINT, SIGTERM, SIGHUP and ``Mounted.stop`` answer whoever waits with an error, then unmount, lazily what is in use.
- ``umount`` from outside ends the process.
- A crash leaves ENOTCONN, never an empty folder, which a tool that mirrors would take for the truth.
"""
