"""Control: the running mount's Unix socket, at which the commands ask it.

One socket a mount stands in the runtime folder (mode 0700), named after the mountpoint. Who may connect is decided by
the folder and once more by the kernel's word on who is at the other end (SO_PEERCRED): the same user, or root.
A connection carries one request and one answer, a JSON object each on a line of its own (``messages``); both are
bounded in size and time, and no more than 32 are attended at once.

``server.serve_control`` gets its handlers from ``app.py``, one for each of ``messages.COMMANDS``; a handler's
KacheryError reaches the asker as the same class, so that the exit code survives. ``client.ask`` is plain blocking code.
``collection-reload`` lets the mount read the list of opened collections again, which whoever asks has changed: the file
alone decides, so that two who change it at once can't leave the mount with less than both.
``watch`` is ``status`` without what grows with the store, for who asks every second. ``umount`` is answered once
nothing is mounted any more: answers are sent even while the mount ends.
"""
