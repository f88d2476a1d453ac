"""System calls that a jailed process may not make, as a filter in the kernel's own byte code (x86-64 and aarch64).

A refused call fails with EPERM, as on a machine that forbids it, so that a program sees an OSError. Numbers are those
of Linux's ``syscall_64.tbl`` and of its generic table.
"""

import ctypes
import os
import platform
import struct

LD_WORD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38
NUMBER, ARCH, FIRST_ARGUMENT = 0, 4, 16
CLONE_THREAD, CLONE_NEW = 0x00010000, 0x7E020080
AF_UNIX = 1
SET_DUMPABLE, SET_NO_NEW_PRIVS, SET_SECCOMP, FILTER_MODE = 4, 38, 22, 2

# fmt: off
_X86 = {
    "ptrace": 101, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308,
    "keyctl": 250, "add_key": 248, "request_key": 249, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
    "kexec_load": 246, "kexec_file_load": 320, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "process_vm_readv": 310, "process_vm_writev": 311, "init_module": 175, "finit_module": 313, "delete_module": 176,
    "open_by_handle_at": 304, "name_to_handle_at": 303, "open_tree": 428, "move_mount": 429, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442, "swapon": 167, "swapoff": 168, "reboot": 169,
    "acct": 163, "quotactl": 179, "syslog": 103, "kcmp": 312, "pidfd_send_signal": 424,
    "pidfd_getfd": 438, "process_madvise": 440, "memfd_create": 319, "memfd_secret": 447, "shmget": 29, "shmat": 30,
    "msgget": 68, "semget": 64, "mq_open": 240, "mbind": 237, "set_mempolicy": 238, "migrate_pages": 256,
    "move_pages": 279, "vmsplice": 278, "fanotify_init": 300, "inotify_init1": 294, "inotify_init": 253,
    "sethostname": 170, "setdomainname": 171, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159,
    "modify_ldt": 154, "personality": 135, "setpriority": 141, "iopl": 172, "ioperm": 173, "tkill": 200,
    "lookup_dcookie": 212, "mknod": 133, "mknodat": 259, "landlock_create_ruleset": 444,
    "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "sched_setaffinity": 203, "sched_setscheduler": 144,
}
_ARM = {
    "ptrace": 117, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268,
    "keyctl": 219, "add_key": 217, "request_key": 218, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
    "kexec_load": 104, "kexec_file_load": 294, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "process_vm_readv": 270, "process_vm_writev": 271, "init_module": 105, "finit_module": 273, "delete_module": 106,
    "open_by_handle_at": 265, "name_to_handle_at": 264, "open_tree": 428, "move_mount": 429, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442, "swapon": 224, "swapoff": 225, "reboot": 142,
    "acct": 89, "quotactl": 60, "syslog": 116, "kcmp": 272, "pidfd_send_signal": 424,
    "pidfd_getfd": 438, "process_madvise": 440, "memfd_create": 279, "memfd_secret": 447, "shmget": 194, "shmat": 196,
    "msgget": 186, "semget": 190, "mq_open": 180, "mbind": 235, "set_mempolicy": 237, "migrate_pages": 238,
    "move_pages": 239, "vmsplice": 75, "fanotify_init": 262, "inotify_init1": 26,
    "sethostname": 161, "setdomainname": 162, "settimeofday": 170, "clock_settime": 112, "adjtimex": 171,
    "personality": 92, "setpriority": 140, "tkill": 130, "lookup_dcookie": 18, "mknodat": 33,
    "landlock_create_ruleset": 444, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "sched_setaffinity": 122,
    "sched_setscheduler": 119,
}
_OTHERS = {
    "x86_64": {"arch": 0xC000003E, "clone": 56, "clone3": 435, "socket": 41, "socketpair": 53, "kill": 62, "tgkill": 234,
               "prlimit64": 302, "pidfd_open": 434, "new": (57, 58, 59, 322)},
    "aarch64": {"arch": 0xC00000B7, "clone": 220, "clone3": 435, "socket": 198, "socketpair": 199, "kill": 129,
                "tgkill": 131, "prlimit64": 261, "pidfd_open": 434, "new": (221, 281)},
}
# fmt: on
_TABLES = {"x86_64": _X86, "aarch64": _ARM}


def supported() -> bool:
    """Whether this machine's system calls are known here."""
    return platform.machine() in _TABLES


def program(machine: str, own: int | None = None, *, processes: bool = False) -> bytes:
    """The filter's byte code.

    Args:
        machine: ``x86_64`` or ``aarch64``.
        own: pid of the process, which may then signal itself only; None: of the server, which may signal all.
        processes: whether it may make further processes and run files.
    """
    known = _OTHERS[machine]
    code = [(LD_WORD, 0, 0, ARCH), (JUMP_EQUAL, 1, 0, known["arch"]), (RETURN, 0, 0, KILL), (LD_WORD, 0, 0, NUMBER)]
    if machine == "x86_64":
        code += [(JUMP_AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, KILL)]

    def refuse(number: int, errno: int = EPERM) -> None:
        code.extend([(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | errno)])

    def unless(number: int, argument: int, test: int, value: int, *, wanted: bool) -> None:
        """Refuse the call unless the test of one of its arguments comes out as wanted."""
        yes, no = (1, 0) if wanted else (0, 1)
        code.extend(
            [
                (JUMP_EQUAL, 0, 4, number),
                (LD_WORD, 0, 0, FIRST_ARGUMENT + 8 * argument),
                (test, yes, no, value & 0xFFFFFFFF),
                (RETURN, 0, 0, ERRNO | EPERM),
                (LD_WORD, 0, 0, NUMBER),
            ]
        )

    refuse(known["clone3"], ENOSYS)  # its flags are in memory, where a filter cannot look; libc then uses clone
    for number in _TABLES[machine].values():
        refuse(number)
    unless(known["clone"], 0, JUMP_ANY_BIT, CLONE_NEW, wanted=False)
    unless(known["socket"], 0, JUMP_EQUAL, AF_UNIX, wanted=True)
    unless(known["socketpair"], 0, JUMP_EQUAL, AF_UNIX, wanted=True)
    if own is not None:
        refuse(known["pidfd_open"])
        unless(known["kill"], 0, JUMP_EQUAL, own, wanted=True)
        unless(known["tgkill"], 0, JUMP_EQUAL, own, wanted=True)
        unless(known["prlimit64"], 0, JUMP_EQUAL, 0, wanted=True)
        if not processes:
            unless(known["clone"], 0, JUMP_ANY_BIT, CLONE_THREAD, wanted=True)
            for number in known["new"]:
                refuse(number)
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


_LIBC = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def prctl(option: int, first: int, second: int = 0) -> None:
    """``prctl(2)``.

    Raises:
        OSError: the kernel refused.
    """
    arguments = [ctypes.c_ulong(a) for a in (first, second, 0, 0)]
    if _LIBC.prctl(option, *arguments) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl({option}): {os.strerror(errno)}")


def install(code: bytes) -> None:
    """Put a filter on this thread and all that it will start; it can never be taken off.

    Raises:
        OSError: the kernel refused.
    """
    held = ctypes.create_string_buffer(code, len(code))
    filter_ = _Program(len(code) // 8, ctypes.cast(held, ctypes.c_void_p))
    prctl(SET_NO_NEW_PRIVS, 1)
    prctl(SET_SECCOMP, FILTER_MODE, ctypes.addressof(filter_))
