"""Writing a file that readers see whole or not at all."""

import fsspec


def replace_file(uri: str, data: bytes) -> str:
    """Write `data` beside `uri`, a path or fsspec address, and put it in its place in one go.

    Returns:
        The plain path where the file is local, else its full address.

    Raises:
        OSError, ValueError, ImportError: The place cannot be written, or its protocol is not known.
    """
    system, path = fsspec.url_to_fs(uri)
    folder, _, name = path.rpartition("/")
    system.makedirs(folder, exist_ok=True)
    draft = f"{folder}/.{name}.draft"
    system.pipe_file(draft, data)
    system.mv(draft, path)
    return str(path if system.local_file else system.unstrip_protocol(path))
