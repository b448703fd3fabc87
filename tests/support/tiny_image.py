"""An image with nothing but bash and a few programs of this machine, for real docker and podman."""

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

NAME = "localhost/sdtui-test:1"
_PROGRAMS = ("bash", "cat", "id", "sleep", "touch")


def build(program: str) -> str | None:
    """Import the image with this client and start it once; return why that fails, or None."""
    if shutil.which(program) is None:
        return f"{program} is not installed"
    made = subprocess.run(
        [program, "import", "-", NAME], input=_archive(), capture_output=True, check=False
    )
    if made.returncode:
        return f"{program} imports no image: {made.stderr.decode(errors='replace')[-300:]}"
    # As sdtui starts it, with the host's network and shared memory.
    words = ["--rm", "--network=host", "--ipc=host", "--entrypoint", "bash", NAME, "-c", "exit 7"]
    tried = subprocess.run([program, "run", *words], capture_output=True, check=False)
    if tried.returncode != 7:
        remove(program)
        return f"{program} starts no container: {tried.stderr.decode(errors='replace')[-300:]}"
    return None


def remove(program: str) -> None:
    """Remove the image."""
    subprocess.run([program, "rmi", "--force", NAME], capture_output=True, check=False)


def _archive() -> bytes:
    """Return a root as a tar file: programs in /bin, libraries where they are looked for."""
    files = {f"bin/{each}": Path(shutil.which(each) or each).resolve() for each in _PROGRAMS}
    for each in list(files.values()):
        listed = subprocess.run(["ldd", each], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+)", listed):
            files[library.lstrip("/")] = Path(library).resolve()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for folder in ("dev", "etc", "mnt", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        for name, path in files.items():
            entry = archive.gettarinfo(path, name)
            entry.mode = 0o755
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return made.getvalue()
