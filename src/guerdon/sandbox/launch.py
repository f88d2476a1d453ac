"""Start a command within a user namespace that knows two users: root, and one who may do nothing.

    python launch.py USER COMMAND...

Only root needs it. A namespace that bubblewrap makes for root holds root alone, and the kernel counts no processes of
root. Standard library only, and run by its path, in an interpreter of its own: the mapping is written by a child
outside the namespace, and a process with threads must not fork.
"""

import ctypes
import os
import sys

NEW_USER = 0x10000000


def main(user: int, command: list[str]) -> None:
    """Become root of a new namespace and run the command; exit code 71 where that is forbidden."""
    told, tell = os.pipe()
    done, say = os.pipe()
    own = os.getpid()
    if os.fork() == 0:
        try:
            os.close(tell)
            if os.read(told, 1):
                for kind in ("gid_map", "uid_map"):
                    with open(f"/proc/{own}/{kind}", "w", encoding="ascii") as file:
                        file.write(f"0 0 1\n{user} {user} 1\n")
                os.write(say, b"1")
        finally:
            os._exit(0)
    os.close(say)
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_USER) != 0:
        _refused("unshare", os.strerror(ctypes.get_errno()))
    os.write(tell, b"1")
    if not os.read(done, 1):
        _refused("uid_map", "cannot be written")
    os.wait()
    os.execv(command[0], command)


def _refused(what: str, why: str) -> None:
    print(f"this machine lets root make no user namespace ({what}: {why})", file=sys.stderr)
    sys.exit(71)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
