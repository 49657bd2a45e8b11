"""fsspec's view of links: ``sha1://`` and ``sha1dir://``, read through the embedded fetcher, without a mount."""
