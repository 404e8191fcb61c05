"""Reproducible archives: their bytes depend on names, contents and the given time alone."""

import gzip
import io
import tarfile
import zipfile
from datetime import datetime, timezone

# A file of an archive: its path, its content, and whether it is a program.
File = tuple[str, bytes, bool]


def tar_gz(files: list[File], epoch: int) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, content, is_program in sorted(files):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime, entry.mode = len(content), epoch, 0o755 if is_program else 0o644
            entry.uname = entry.gname = "root"
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), compresslevel=9, mtime=0)


def zip_(files: list[File], epoch: int) -> bytes:
    raw = io.BytesIO()
    time = datetime.fromtimestamp(epoch, timezone.utc).timetuple()[:6]
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path, content, is_program in sorted(files):
            entry = zipfile.ZipInfo(path, time)
            entry.create_system, entry.compress_type = 3, zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if is_program else 0o100644) << 16
            archive.writestr(entry, content)
    return raw.getvalue()
