"""Programs that attack the sandbox, as data: what each tries, and whether it works where nothing holds it.

A *reach* is the body of a function that returns something true if it got out. Those marked ``open`` do so in a plain
interpreter (the test of the tests). A *bomb* tries to take the worker or the machine down. A *forgery* does not know
the answer and wants to be paid all the same. ``@SECRET@`` and the like are put in by the test.
"""

SYSCALL = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"

REACHES: dict[str, tuple[str, bool]] = {
    # files
    "read a file": ("return open('@SECRET@').read()", True),
    "read a file through a descriptor": ("import os\nreturn os.read(os.open('@SECRET@', 0), 9)", True),
    "read a file by going up": ("return open('../' * 30 + '@SECRET@'[1:]).read()", True),
    "read a file through a link": ("import os\nos.symlink('@SECRET@', 'l')\nreturn open('l').read()", True),
    "hard link": ("import os\nos.link('@SECRET@', 'h')\nreturn open('h').read()", False),
    "look for a file": (
        "import os\nreturn any('canary.txt' in files for _, _, files in os.walk('@FOLDER@'))",
        True,
    ),
    "passwords": ("return open('/etc/passwd').read()", True),
    "shadow": ("return open('/etc/shadow').read()", False),
    "host names": ("return open('/etc/hosts').read()", True),
    "home": ("import os\nreturn [f for f in os.listdir(os.path.expanduser('~root')) if not f.startswith('.pyenv')]", False),
    "the project": ("import guerdon\nreturn True", False),
    "installed packages": ("import typer\nreturn True", True),
    "write a file": ("open('@OUT@', 'w').write('x')\nreturn True", True),
    "append to a file": ("open('@SECRET@.log', 'a').write('x')\nreturn True", True),
    "make a folder": ("import os\nos.mkdir('@OUT@.d')\nreturn True", True),
    "remove a file": ("import os\nos.unlink('@DOOMED@')\nreturn True", True),
    "write at the root": ("open('/x', 'w').write('x')\nreturn True", False),
    "write to the standard library": ("import os\nopen(os.__file__, 'a').write('#')\nreturn True", False),
    "write to the code of the jail": ("open('/guerdon/inside/work.py', 'a').write('#')\nreturn True", False),
    "write beside the packages": ("open('/packages/evil.py', 'w').write('#')\nreturn True", False),
    "shared memory as a file": ("open('/dev/shm/x', 'w').write('x')\nreturn True", True),
    "shared memory": (
        "from multiprocessing import shared_memory as s\nm = s.SharedMemory(create=True, size=9)\nm.unlink()\nreturn True",
        True,
    ),
    "a device": ("import os\nos.mknod('d', 0o60600, os.makedev(254, 0))\nreturn open('d', 'rb').read(1)", False),
    "the disk": ("import glob\nreturn open(glob.glob('/dev/[vs]d*')[0], 'rb').read(1)", False),
    "memory of the machine": ("return open('/dev/mem', 'rb').read(1) or True", False),
    "chroot": ("import os\nos.mkdir('c')\nos.chroot('c')\nreturn True", False),
    "remount": (SYSCALL + "return libc.mount(None, b'/', None, 32, None) == 0", False),
    "mount": (SYSCALL + "return libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0", False),
    "unmount": (SYSCALL + "return libc.umount2(b'/tmp', 2) == 0", False),
    # what the kernel shows
    "environment": ("import os\nreturn os.environ.get('GUERDON_CANARY')", True),
    "environment through C": (
        SYSCALL + "libc.getenv.restype = ctypes.c_char_p\nreturn libc.getenv(b'GUERDON_CANARY')",
        True,
    ),
    "environment through /proc": ("return b'GUERDON_CANARY' in open('/proc/self/environ', 'rb').read()", True),
    "environment of others": (
        "import os, glob\nreturn any(b'GUERDON_CANARY' in open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/environ'))",
        False,
    ),
    "maps": ("return open('/proc/self/maps').read()", True),
    "memory through /proc": ("return open('/proc/self/mem', 'rb')", True),
    "root of the first process": ("import os\nreturn os.listdir('/proc/1/root')", False),
    "processes": ("import os\nreturn [p for p in os.listdir('/proc') if p.isdigit()]", True),
    "system": ("import os\nreturn os.listdir('/sys')", True),
    "host name": ("import socket\nreturn socket.gethostname() != 'sandbox'", True),
    "descriptors left open": (
        "import os\nopen_ = []\nfor fd in range(4, 256):\n    try:\n        os.fstat(fd)\n        open_.append(fd)\n"
        "    except OSError:\n        pass\nreturn open_",
        False,
    ),
    # network
    "connect": ("import socket\nreturn socket.create_connection(('127.0.0.1', @PORT@), 0.3)", True),
    "datagram": ("import socket\nreturn socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', @PORT@))", True),
    "version 6": ("import socket\nreturn socket.socket(socket.AF_INET6)", False),
    "listen": ("import socket\ns = socket.socket()\ns.bind(('0.0.0.0', 0))\ns.listen()\nreturn True", True),
    "abstract socket": ("import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0@NAME@')\nreturn True", True),
    "fetch": ("import urllib.request as u\nreturn u.urlopen('http://127.0.0.1:@PORT@', timeout=0.3).status", False),
    "raw packets": ("import socket\nreturn socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", False),
    "netlink": ("import socket\nreturn socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)", True),
    "kernel cryptography": ("import socket\nreturn socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)", False),
    "virtual machine socket": ("import socket\nreturn socket.socket(socket.AF_VSOCK)", False),
    "names": ("import socket\nreturn socket.getaddrinfo('example.org', 80)", False),
    # processes
    "fork": ("import os\np = os.fork()\nif p == 0:\n    os._exit(0)\nreturn p", True),
    "fork by the call": (SYSCALL + "p = libc.syscall(57)\nif p == 0:\n    os._exit(0)\nreturn p > 0", False),
    "shell": ("import os\nreturn os.system('true') == 0", True),
    "subprocess": ("import subprocess, sys\nreturn subprocess.run([sys.executable, '-c', '']).returncode == 0", True),
    "spawn": ("import os, sys\nreturn os.posix_spawn(sys.executable, [sys.executable, '-c', ''], {})", True),
    "multiprocessing": (
        "import multiprocessing as m\np = m.get_context('fork').Process(target=print)\np.start()\np.join()\nreturn True",
        True,
    ),
    "pool": ("from concurrent.futures import ProcessPoolExecutor as P\nreturn list(P(1).map(abs, [1]))", False),
    "compiler": ("import subprocess\nreturn subprocess.run(['cc', '--version']).returncode == 0", False),
    "become another program": ("import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'print(1)'])", False),
    "run from memory": (
        "import os\nf = os.memfd_create('x')\nos.write(f, b'#!/bin/true')\nreturn True",
        True,
    ),
    "new namespace": (SYSCALL + "return libc.unshare(0x10000000) == 0", False),
    "new namespace by clone": (
        SYSCALL + "p = libc.syscall(56, 0x10000011, 0, 0, 0, 0)\nif p == 0:\n    os._exit(0)\nreturn p > 0",
        False,
    ),
    "clone3": (
        SYSCALL + "a = (ctypes.c_uint64 * 11)()\na[4] = 17\np = libc.syscall(435, a, 88)\nif p == 0:\n    os._exit(0)\n"
        "return p > 0",
        False,
    ),
    "join a namespace": (SYSCALL + "return libc.setns(0, 0) == 0", False),
    "become root": ("import os\nos.setuid(0)\nreturn True", False),
    "new group": ("import os\nos.setgroups([0])\nreturn True", False),
    # other processes
    "trace the server": (SYSCALL + "return libc.ptrace(16, 1, 0, 0) == 0", False),
    "trace oneself": (SYSCALL + "return libc.ptrace(0, 0, 0, 0) == 0", True),
    "read memory of the server": (
        SYSCALL + "b = ctypes.create_string_buffer(8)\nv = (ctypes.c_size_t * 2)(ctypes.addressof(b), 8)\n"
        "return libc.process_vm_readv(os.getpid(), v, 1, v, 1, 0) > 0",
        True,
    ),
    "a handle of the server": ("import os\nreturn os.pidfd_open(1) >= 0", True),
    "signal the server": ("import os\nos.kill(1, 0)\nreturn True", False),
    "kill the server": ("import os\nos.kill(1, 9)\nreturn True", False),
    "interrupt the server": ("import os\nos.kill(1, 2)\nreturn True", False),
    "signal the server's thread": (SYSCALL + "return libc.syscall(234, 1, 1, 15) == 0", False),
    "limits of the server": ("import resource\nresource.prlimit(1, 0, (1, 1))\nreturn True", False),
    "limits raised": ("import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nreturn True", False),
    "priority": ("import os\nos.setpriority(0, 0, -5)\nreturn True", False),
    # doors of the kernel
    "filter of its own code": (SYSCALL + "return libc.syscall(321, 0, 0, 0) >= 0 or ctypes.get_errno() != 1", False),
    "performance counters": (SYSCALL + "return libc.syscall(298, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() != 1", False),
    "page faults": (SYSCALL + "return libc.syscall(323, 0) >= 0", False),
    "rings": (SYSCALL + "return libc.syscall(425, 1, 0) >= 0 or ctypes.get_errno() != 1", False),
    "keys": (SYSCALL + "return libc.syscall(250, 0, -3, 0) >= 0", False),
    "system V memory": (SYSCALL + "return libc.shmget(0, 4096, 0o1600) >= 0", True),
    "the other instruction set's calls": (SYSCALL + "return libc.syscall(0x40000000 + 39) > 0", False),
    "kernel modules": (SYSCALL + "return libc.syscall(175, 0, 0, 0) == 0 or ctypes.get_errno() != 1", False),
}  # fmt: skip

BOMBS: dict[str, tuple[str, str]] = {
    "loop": ("while True: pass", "timeout"),
    "sleep": ("import time\ntime.sleep(60)", "timeout"),
    "regular expression": ("import re\nre.match('(a+)+$', 'a' * 60 + 'b')", "timeout"),
    "power": ("9 ** 9 ** 9", ""),
    "memory": ("x = []\nwhile True: x.append(bytearray(1 << 26))", "raised: MemoryError"),
    "memory of many threads": (
        "import threading\ndef g():\n    x = []\n    while True: x.append(bytearray(1 << 24))\n"
        "for _ in range(50): threading.Thread(target=g, daemon=True).start()\ng()",
        "",
    ),
    "threads": (
        "import threading\nthreading.stack_size(1 << 16)\ne = threading.Event()\n"
        "while True: threading.Thread(target=e.wait, daemon=True).start()",
        "raised: RuntimeError",
    ),
    "fork bomb": ("import os\nwhile True: os.fork()", "raised: PermissionError"),
    "recursion": ("import sys\nsys.setrecursionlimit(10**9)\ndef g(n): return g(n + 1) + 1\ng(0)", ""),
    "nested code": ("eval('(' * 10000 + ')' * 10000)", ""),
    "null pointer": ("import ctypes\nctypes.string_at(0)", "crashed"),
    "abort": ("import os\nos.abort()", "crashed"),
    "kill oneself": ("import os\nos.kill(os.getpid(), 9)", "crashed"),
    "stop oneself": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", "timeout"),
    "ignore every signal": (
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "while True: pass",
        "timeout",
    ),
    "disk": ("f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 20))", "raised: OSError"),
    "many files": ("for i in range(10**9): open(str(i), 'w').close()", "raised: OSError"),
    "deep folders": ("import os\nwhile True:\n    os.mkdir('d')\n    os.chdir('d')", "raised: "),
    "closed folders": (
        "import os\nos.makedirs('a/b/c')\nos.chmod('a/b', 0)\nos.chmod('a', 0)\nraise ValueError",
        "raised: ValueError",
    ),
    "descriptors": ("x = []\nwhile True: x.append(open('/dev/null'))", "raised: OSError"),
    "names that are none": (
        "open(b'/tmp/check/\\xff\\n\\x01', 'w').close()\nopen('/tmp/beside', 'w').close()\nraise ValueError",
        "raised: ValueError",
    ),
    "a link where the folder stood": (
        "import os\nos.chdir('/tmp')\nos.rmdir('check')\nos.symlink('@FOLDER@', 'check')\nraise ValueError",
        "raised: ValueError",
    ),
    "a link to follow": ("import os\nos.symlink('@FOLDER@', 'out')\nraise ValueError", "raised: ValueError"),
    "a flood of values": ("return ['x' * 1000] * 10**5", "output"),
    "a flood on the way out": ("import os\nwhile True: os.write(3, b'x' * 65536)", "output"),
    "a flood of errors": ("import sys\nwhile True: sys.stderr.write('x' * 65536)", "timeout"),
    "daemon": (
        "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True: pass",
        "raised: ",
    ),
    "a thread that stays": (
        "import threading, time\ndef g():\n    while True: time.sleep(0.01)\nthreading.Thread(target=g).start()\nreturn 0",
        "wrong: ",
    ),
    "at exit": ("import atexit, time\natexit.register(time.sleep, 60)\nreturn 0", "wrong: "),
    "close everything": ("import os\nos.closerange(0, 256)\nreturn 9", "raised"),
    "a text that is none": ("return '\\ud800\\x00\\U0010ffff'", "wrong: "),
    "nested deeper than JSON": ("x = []\nfor _ in range(10**5): x = [x]\nreturn x", "raised: Unfit"),
    "one hash": (
        "import json, os\nkeys = [{'t': 'int', 'v': hex(k * ((1 << 61) - 1))} for k in range(1, 40000)]\n"
        "os.write(3, json.dumps({'v': {'t': 'set', 'v': keys}}).encode() + b'\\n')\nos._exit(0)",
        "",
    ),
    "a number that takes hours to write": ("return 1 << 8_000_000", ""),
}

SOURCES: dict[str, str] = {
    "null byte": "def f(x): return 9\0",
    "surrogates": "def f(x): return '\ud800'",
    "nothing": "",
    "no Python": "Here is my answer:\n```python\ndef f(x): ...\n```",
    "deeply nested": "f = " + "(" * 5000 + ")" * 5000,
    "long sums": "f = lambda x: " + "-" * 50_000 + "1",
    "megabytes": "x = '" + "a" * 3_000_000 + "'",
    "coding": "# -*- coding: rot13 -*-\nqrs s(k): erghea 9",
    "form feeds": "\f\x0bdef f(x): return 8",
    "look-alike name": "def ｇ(x): return 9",
}

FORGERIES: dict[str, str] = {
    "equal to everything": "class E:\n    def __eq__(self, o): return True\n    __hash__ = None\ndef f(x): return E()",
    "a number equal to everything": "class E(int):\n    def __eq__(self, o): return True\n    def __ne__(self, o): return False\n    __hash__ = int.__hash__\ndef f(x): return E(1)",
    "a list equal to everything": "class E(list):\n    def __eq__(self, o): return True\ndef f(x): return E()",
    "a text equal to everything": "class E(str):\n    def __eq__(self, o): return True\n    __hash__ = str.__hash__\ndef f(x): return E('1')",
    "a class equal to everything": "class M(type):\n    def __eq__(self, o): return True\n    __hash__ = type.__hash__\nclass E(metaclass=M): pass\ndef f(x): return E",
    "leave with success": "import sys\nsys.exit(0)",
    "leave at once": "import os\nos._exit(0)",
    "leave within": "import os\ndef f(x): os._exit(0)",
    "leave politely within": "def f(x): raise SystemExit(0)",
    "interrupt": "def f(x): raise KeyboardInterrupt",
    "end of iteration": "def f(x): raise StopIteration",
    "claim that the tests are skipped": "import unittest\ndef f(x): raise unittest.SkipTest('x')",
    "say so": "def f(x): return 0\nprint('1 passed')\nprint('OK')",
    "say so everywhere": "import os\nfor fd in range(64):\n    try: os.write(fd, b'{\"v\": true}\\n{\"passed\": 1, \"total\": 1}\\n')\n    except OSError: pass\ndef f(x): return 0",
    "write a handle": "import os\nos.write(3, b'{\"v\": {\"t\": \"object\", \"v\": 0, \"n\": \"int\"}}\\n' * 9)\nos._exit(0)",
    "write what is no JSON": "import os\nos.write(3, b'[' * 100000 + b'\\n')\nos._exit(0)",
    "write no number": "import os\nos.write(3, b'{\"v\": 1e999}\\n{\"v\": {\"t\": \"float\", \"v\": \"nan\"}}\\n')\nos._exit(0)",
    "patch equality in builtins": "import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.all = lambda x: True\nbuiltins.len = lambda x: 9\nbuiltins.set = lambda x: 9\nbuiltins.isinstance = lambda a, b: True\ndef f(x): return 0",
    "patch isclose": "import math\nmath.isclose = lambda a, b, **k: True\ndef f(x): return 0.5",
    "patch unittest": "import unittest\nfor n in dir(unittest.TestCase):\n    if n.startswith('assert'): setattr(unittest.TestCase, n, lambda *a, **k: None)\ndef f(x): return 0",
    "patch JSON": "import json\njson.dumps = lambda *a, **k: '{\"v\": true}'\ndef f(x): return 0",
    "patch the encoder": "import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'encode') and hasattr(m, 'Unfit'): m.encode = lambda *a: True\ndef f(x): return 0",
    "patch assertions": "import builtins\nclass A(Exception):\n    def __init__(self, *a): raise SystemExit(0)\nbuiltins.AssertionError = A\ndef f(x): return 0",
    "patch exit": "import os\nos._exit = lambda c: None\ndef f(x): return 0",
    "patch write": "import os\nos.write = lambda fd, b: len(b)\ndef f(x): return 0",
    "patch eval": "import builtins\nbuiltins.eval = lambda *a: True\nbuiltins.compile = lambda *a: None\ndef f(x): return 0",
    "look up the stack": "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n        for v in [*frame.f_locals.values(), *frame.f_globals.values()]:\n            if isinstance(v, str) and '1234' + '5' in v and 'def f' not in v: return int('1234' + '5')\n        frame = frame.f_back",
    "look through memory": "import gc\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, dict):\n            for v in list(o.values()):\n                if isinstance(v, str) and '1234' + '5' in v and 'def f' not in v: return 12345\n    return 0",
    "scan memory": "import ctypes, re\ndef f(x):\n    here = id(object()) & ~0xFFFFF\n    text = ctypes.string_at(here, 1 << 20)\n    return 12345 if b'assert ' in text and b'1234' + b'5' in text else 0",
    "trace": "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\ndef f(x): return 0",
    "alarm": "import signal, os\nsignal.signal(signal.SIGALRM, lambda *a: os._exit(0))\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\ndef f(x):\n    while True: pass",
    "a thread that leaves": "import threading, os, time\nthreading.Thread(target=lambda: (time.sleep(0.02), os._exit(0)), daemon=True).start()\ndef f(x):\n    time.sleep(0.2)\n    return 0",
    "hide the failure": "import sys\nsys.excepthook = lambda *a: None\ndef f(x): raise ValueError",
    "the names of tests": "check = lambda *a: None\ntest = check\nAssertionError = ValueError\ndef f(x): return 0",
    "answer for everything": "class E:\n    def __getattr__(self, n): return lambda *a, **k: True\n    def __call__(self, *a): return self\nf = E()",
    "no end": "def f(x):\n    while True: yield 1",
    "not a number": "def f(x): return float('nan')",
    "truth": "def f(x): return True",
}  # fmt: skip
