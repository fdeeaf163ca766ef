"""Faults at the n-th system call that a child makes on the file system: the real call fails, or the process ends before it.

With ptrace on x86-64 every call is seen, also those of C code. Elsewhere Python's audit events stand for the calls; they miss writes and
fsync.
"""

import ctypes
import errno
import os
import platform
import signal
import sys
from collections.abc import Callable
from enum import Enum

_TRACEME, _CONT, _GETREGS, _SETREGS, _SYSCALL, _SETOPTIONS = 0, 7, 12, 13, 24, 0x4200
_OPTIONS = 0x100001  # distinguish system calls from signals; end the child with its tracer
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_REGISTERS = (  # of a struct of the kernel, in its order
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs"
)
_OPENAT, _O_CREAT = 257, os.O_CREAT
#: x86-64's numbers of the calls that make, change, delete or read names and files
_NAMES = {
    1: "write",
    2: "open",
    18: "pwrite64",
    40: "sendfile",
    73: "flock",
    74: "fsync",
    75: "fdatasync",
    77: "ftruncate",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    86: "link",
    87: "unlink",
    88: "symlink",
    90: "chmod",
    91: "fchmod",
    217: "getdents64",
    _OPENAT: "openat",
    258: "mkdirat",
    263: "unlinkat",
    264: "renameat",
    265: "linkat",
    266: "symlinkat",
    268: "fchmodat",
    316: "renameat2",
    326: "copy_file_range",
}
#: those that need room on the disk
_NEEDS_ROOM = {
    "write",
    "pwrite64",
    "sendfile",
    "mkdir",
    "mkdirat",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "copy_file_range",
    "open",
    "openat",
}
_EVENTS = {
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "os.symlink",
    "open",
    "tempfile.mkdtemp",
    "os.listdir",
    "os.scandir",
}


class Fault(Enum):
    """Fault at the n-th call."""

    KILL = "SIGKILL"
    INTERRUPT = "Ctrl-C"
    ERROR = "I/O error"
    FULL = "disk full from then on"


class _Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in _REGISTERS.split()]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, pid: int, data: object = 0) -> None:
    if _libc.ptrace(request, pid, 0, data) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace request {request} failed")


def can_trace() -> bool:
    """Return True if every system call can be traced here."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return False
    try:
        return run_with_fault(lambda: 7, 0, Fault.KILL) == ("", 7)
    except OSError:
        return False


def run_with_fault(action: Callable[[], int], nth: int, fault: Fault) -> tuple[str, int]:
    """Run an action in a child, with a fault at its n-th call on the file system.

    Returns:
        The name of the call that it happened at, "" if there were fewer; and the child's exit status, negative for a signal.
    """
    child = os.fork()
    if child == 0:
        try:
            _libc.ptrace(_TRACEME, 0, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(action())
        finally:
            os._exit(99)
    try:
        return _trace(child, nth, fault)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise


def _trace(child: int, nth: int, fault: Fault) -> tuple[str, int]:
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        raise OSError(errno.EPERM, "the child cannot be traced")
    _ptrace(_SETOPTIONS, child, _OPTIONS)
    seen, hit, entering, failing, deliver = 0, "", True, False, 0
    while True:
        # once it is hit only a full disk matters any more
        _ptrace(_CONT if hit and not failing and fault is not Fault.FULL else _SYSCALL, child, deliver)
        deliver = 0
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            return hit, os.waitstatus_to_exitcode(status)
        if os.WSTOPSIG(status) != _SYSCALL_STOP:
            deliver = os.WSTOPSIG(status)
            continue
        registers = _Registers()
        _ptrace(_GETREGS, child, ctypes.addressof(registers))
        if entering:
            name = _call(registers, fault)
            seen += bool(name)
            if name and (seen == nth or (hit and fault is Fault.FULL)):
                hit = hit or name
                if fault is Fault.KILL:
                    os.kill(child, signal.SIGKILL)
                    return hit, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                if fault is Fault.INTERRUPT:
                    os.kill(child, signal.SIGINT)
                else:
                    failing = True
                    registers.orig_rax = 2**64 - 1  # a call that does not exist
                    _ptrace(_SETREGS, child, ctypes.addressof(registers))
        elif failing:
            failing = False
            registers.rax = 2**64 - (errno.ENOSPC if fault is Fault.FULL else errno.EIO)
            _ptrace(_SETREGS, child, ctypes.addressof(registers))
        entering = not entering


def _call(registers: _Registers, fault: Fault) -> str:
    name = _NAMES.get(registers.orig_rax, "")
    if name in ("write", "pwrite64") and registers.rdi < 3:
        return ""
    if fault is not Fault.FULL:
        return name
    flags = registers.rdx if registers.orig_rax == _OPENAT else registers.rsi
    if name in ("open", "openat") and not flags & _O_CREAT:
        return ""
    return name if name in _NEEDS_ROOM else ""


def run_with_hook(action: Callable[[], int], nth: int, fault: Fault) -> tuple[str, int]:
    """As :func:`run_with_fault`, by audit events."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, _arguments: object) -> None:
            nonlocal seen
            if event not in _EVENTS:
                return
            seen += 1
            if seen != nth:
                return
            os.write(writer, event.encode())
            if fault is Fault.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            if fault is Fault.INTERRUPT:
                raise KeyboardInterrupt
            raise OSError(errno.ENOSPC if fault is Fault.FULL else errno.EIO, "injected")

        try:
            sys.addaudithook(hook)
            os._exit(action())
        finally:
            os._exit(99)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        hit = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return hit, os.waitstatus_to_exitcode(status)
