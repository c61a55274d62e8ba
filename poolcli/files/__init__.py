"""The edge: files in and out. Pillow is known in :mod:`poolcli.files.images` alone."""
