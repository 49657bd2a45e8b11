"""The text in the mount's root."""

from __future__ import annotations

README_BYTES = b"""\
kacheryfs: files of a peer network, each under the SHA-1 of its content.

  sha1/H                      the file whose SHA-1 is H (40 hex digits)
  sha1/H.NAME                 the same under a name with an ending, for programs that go by it
  sha1dir/H/...               the directory whose JSON has the SHA-1 H, with its real names
  collections/NAME/...        a collection's recordings/ID/... and sortings/ID/..., once it is opened
  sha1://H/NAME?manifest=M    a link works as it was sent: put this directory and a "/" before it
  sha1dir://H.NAME/...        the same for a directory

"ls sha1" lists what this machine knows; whatever a peer has can be opened all the same.
Reading fetches the blocks that it touches, verifies them and keeps them. Nothing can be written.

  No such file or directory   all peers answered, and none has it
  No route to host            nobody who answered has it, and some peer did not answer
  Input/output error          no peer could serve it in time, or what they sent was wrong

  kacheryfs collection open LINK     show a collection here
  kacheryfs status            the peers, what is being fetched, and which reads wait for what
  kacheryfs info PATH         what a path is, and who has it
  getfattr -d FILE            how much of it is here, and what proves it
"""
