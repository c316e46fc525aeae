"""System calls that act on the kernel, on other processes or on the machine, one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ._arena import VARIANTS, Arena
from ._host import SECRET, Victim
from ._programs import NUMBERS


@pytest.fixture(scope="module", params=VARIANTS)
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    with Arena(namespaces=request.param) as arena:
        yield arena


REFUSED = {"EPERM", "ENOSYS", "EACCES"}


# Arguments that would do what the call is for; VICTIM is the pid of a process of the host's user.
CALLS = {
    "ptrace attach": "'ptrace', 16, VICTIM, 0, 0",
    "ptrace seize": "'ptrace', 0x4206, VICTIM, 0, 0",
    "ptrace trace me": "'ptrace', 0, 0, 0, 0",
    "process_vm_readv": "'process_vm_readv', VICTIM, IOVEC, 1, IOVEC, 1, 0",
    "process_vm_writev": "'process_vm_writev', VICTIM, IOVEC, 1, IOVEC, 1, 0",
    "process_madvise": "'process_madvise', 0, IOVEC, 1, 20, 0",
    "process_mrelease": "'process_mrelease', 0, 0",
    "kcmp": "'kcmp', VICTIM, VICTIM, 0, 0, 0",
    "move_pages": "'move_pages', VICTIM, 0, 0, 0, 0, 0",
    "migrate_pages": "'migrate_pages', VICTIM, 0, 0, 0",
    "get_robust_list": "'get_robust_list', VICTIM, BUFFER, BUFFER",
    "pidfd_open": "'pidfd_open', VICTIM, 0",
    "pidfd_open of itself": "'pidfd_open', os.getpid(), 0",
    "pidfd_getfd": "'pidfd_getfd', 0, 0, 0",
    "io_uring_setup": "'io_uring_setup', 8, BUFFER",
    "io_uring_enter": "'io_uring_enter', 0, 1, 0, 0, 0",
    "io_uring_register": "'io_uring_register', 0, 0, 0, 0",
    "io_setup": "'io_setup', 8, BUFFER",
    "userfaultfd": "'userfaultfd', 1",
    "keyctl": "'keyctl', 0, -3, 0",
    "keyctl, own keyring": "'keyctl', 1, b'x'",
    "add_key": "'add_key', b'user', b'python-executor', b'x', 1, -4",
    "request_key": "'request_key', b'user', b'python-executor', 0, -4",
    "bpf map": "'bpf', 0, (ctypes.c_uint32 * 32)(2, 4, 4, 1), 128",
    "bpf program": "'bpf', 5, BUFFER, 128",
    "perf_event_open": "'perf_event_open', (ctypes.c_uint32 * 32)(1, 128), 0, -1, -1, 0",
    "mount": "'mount', b'none', b'.', b'tmpfs', 0, 0",
    "bind mount": "'mount', b'/etc', b'.', 0, 0x1000, 0",
    "umount": "'umount2', b'/proc', 2",
    "pivot_root": "'pivot_root', b'.', b'.'",
    "fsopen": "'fsopen', b'tmpfs', 0",
    "fspick": "'fspick', -100, b'.', 0",
    "open_tree": "'open_tree', -100, b'/etc', 1",
    "move_mount": "'move_mount', -100, b'.', -100, b'/', 0",
    "mount_setattr": "'mount_setattr', -100, b'/', 0, BUFFER, 32",
    "chroot": "'chroot', b'.'",
    "unshare user": "'unshare', 0x10000000",
    "unshare mount": "'unshare', 0x20000",
    "unshare pid": "'unshare', 0x20000000",
    "unshare network": "'unshare', 0x40000000",
    "unshare files": "'unshare', 0x400",
    "setns": "'setns', 0, 0",
    "swapon": "'swapon', b'swap', 0",
    "swapoff": "'swapoff', b'swap'",
    "acct": "'acct', b'acct'",
    "quotactl": "'quotactl', 0x800002, b'/dev/vda', 0, BUFFER",
    "init_module": "'init_module', BUFFER, 8, b''",
    "finit_module": "'finit_module', 0, b'', 0",
    "delete_module": "'delete_module', b'python-executor', 0x800",
    "kexec_load": "'kexec_load', 0, 0, 0, 0",
    "kexec_file_load": "'kexec_file_load', -1, -1, 0, 0, 0",
    "syslog": "'syslog', 3, BUFFER, 64",
    "sethostname": "'sethostname', b'', -1",
    "setdomainname": "'setdomainname', b'', -1",
    "settimeofday": "'settimeofday', 0, 0",
    "clock_settime": "'clock_settime', 9, BUFFER",
    "adjtimex": "'adjtimex', BUFFER",
    "clock_adjtime": "'clock_adjtime', 0, BUFFER",
    "iopl": "'iopl', 3",
    "ioperm": "'ioperm', 0x80, 1, 1",
    "modify_ldt": "'modify_ldt', 0, BUFFER, 64",
    "vhangup": "'vhangup',",
    "name_to_handle_at": "'name_to_handle_at', -100, b'/etc/shadow', BUFFER, BUFFER, 0",
    "open_by_handle_at": "'open_by_handle_at', 0, BUFFER, 0",
    "fanotify_init": "'fanotify_init', 0, 0",
    "inotify_init1": "'inotify_init1', 0",
    "inotify_init": "'inotify_init',",
    "inotify_add_watch": "'inotify_add_watch', 0, b'/etc', 0xfff",
    "memfd_create": "'memfd_create', b'x', 0",
    "memfd_secret": "'memfd_secret', 0",
    "set_mempolicy": "'set_mempolicy', 0, 0, 0",
    "mbind": "'mbind', 0, 0, 0, 0, 0, 0",
    "mlock": "'mlock', BUFFER, 64",
    "mlockall": "'mlockall', 3",
    "remap_file_pages": "'remap_file_pages', 0, 4096, 0, 0, 0",
    "personality": "'personality', 0x0040000",
    "vmsplice": "'vmsplice', 1, IOVEC, 1, 8",
    "splice": "'splice', 0, 0, 1, 0, 1, 0",
    "tee": "'tee', 0, 1, 1, 0",
    "setuid": "'setuid', 0",
    "setresuid": "'setresuid', 12345, 12345, 12345",
    "setgid": "'setgid', 0",
    "setgroups": "'setgroups', 0, 0",
    "setfsuid": "'setfsuid', 12345",
    "capset": "'capset', (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(-1, -1, -1)",
    "setsid": "'setsid',",
    "setpgid": "'setpgid', 0, 0",
    "shmget": "'shmget', 0, 4096, 0o1777",
    "shmat": "'shmat', 0, 0, 0",
    "shmctl": "'shmctl', 0, 2, BUFFER",
    "semget": "'semget', 0, 1, 0o1777",
    "semop": "'semop', 0, BUFFER, 1",
    "msgget": "'msgget', 0, 0o1777",
    "msgsnd": "'msgsnd', 0, BUFFER, 1, 0",
    "mq_open": "'mq_open', b'python-executor', 0o102, 0o777, 0",
    "uselib": "'uselib', b'/etc/passwd'",
    "lookup_dcookie": "'lookup_dcookie', 0, BUFFER, 64",
    "ustat": "'ustat', 0, BUFFER",
    "sysfs": "'sysfs', 3",
    "listmount": "'listmount', BUFFER, BUFFER, 1, 0",
    "statmount": "'statmount', BUFFER, BUFFER, 64, 0",
    "lsm_set_self_attr": "'lsm_set_self_attr', 100, BUFFER, 64, 0",
    "pkey_alloc": "'pkey_alloc', 0, 0",
    "setpriority": "'setpriority', 0, 0, 19",
    "sched_setscheduler": "'sched_setscheduler', 0, 5, BUFFER",
    "sched_setattr": "'sched_setattr', 0, (ctypes.c_uint32 * 14)(56, 5), 0",
    "ioprio_set": "'ioprio_set', 1, 0, 3 << 13",
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_refused(arena: Arena, victim: Victim, name: str) -> None:
    call = CALLS[name]
    if eval(call.partition(",")[0]) not in NUMBERS:
        pytest.skip("this machine has no such call")
    code = f"""
VICTIM = {victim.pid}
BUFFER = ctypes.create_string_buffer(4096)
IOVEC = (ctypes.c_size_t * 2)(ctypes.addressof(BUFFER), 8)
call({call.rstrip(",")})
"""
    assert arena.seen(code) in REFUSED
    victim.assert_unharmed()


def test_reboot_is_refused(arena: Arena) -> None:
    # With wrong magic numbers, so that nothing happens where it isn't.
    assert arena.seen("call('reboot', 0, 0, 0, 0)") in REFUSED


# Every call that gets through, or pretends to. The list is the tests' own, so that none is added to
# the sandbox's by mistake.
OPEN = """
    brk mmap mprotect munmap mremap msync madvise
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range
    dup dup2 dup3 pipe pipe2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl
    epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 timerfd_create timerfd_settime
    timerfd_gettime signalfd signalfd4 sendfile copy_file_range fsync fdatasync ftruncate fallocate
    fadvise64 flock ioctl fcntl
    open openat creat stat lstat fstat newfstatat statx access faccessat faccessat2 readlink
    readlinkat getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename
    renameat renameat2 link linkat symlink symlinkat umask statfs fstatfs truncate
    chmod fchmod fchmodat fchmodat2 utime utimes futimesat utimensat
    getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp
    set_tid_address set_robust_list rseq futex futex_waitv futex_wake futex_wait futex_requeue
    sched_yield sched_get_priority_max sched_get_priority_min wait4 waitid
    arch_prctl times getrusage getrlimit setrlimit sysinfo uname membarrier getcpu getrandom
    map_shadow_stack
    rt_sigaction rt_sigprocmask rt_sigpending sigaltstack
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time getitimer setitimer alarm
    timer_create timer_settime timer_gettime timer_getoverrun timer_delete
    recvfrom shutdown getsockname getpeername getsockopt
    sched_getaffinity personality
    getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
"""
# Calls that end, stop or replace the process if they get through. Those of probes no filter sees
# (Linux 6.14), and outside of a probe they end the process.
DEADLY = """
    exit exit_group pause rt_sigreturn rt_sigsuspend rt_sigtimedwait restart_syscall vfork fork
    kill tgkill tkill reboot vhangup uretprobe uprobe
"""


def test_no_call_gets_through_that_is_not_listed(arena: Arena) -> None:
    skipped = sorted(NUMBERS[name] for name in DEADLY.split() if name in NUMBERS)
    code = f"""
reached = []
for number in range(600):
    # Arguments that make sense to none.
    if number not in {skipped!r} and call(number, *[-1] * 6) not in ("EPERM", "ENOSYS"):
        reached.append(number)
reached
"""
    names = {number: name for name, number in NUMBERS.items()}
    reached = {names.get(number, str(number)) for number in arena.seen(code)}
    assert reached - set(OPEN.split()) == set()
    assert {"read", "munmap", "mkdirat"} <= reached


def test_the_secret_is_nowhere_in_the_own_memory(arena: Arena, victim: Victim) -> None:
    # What the host knows must not have come along with the fork server.
    code = f"""
mark = "".join([{SECRET[:9]!r}, {SECRET[9:]!r}])
import gc
[type(item).__name__ for item in gc.get_objects() if isinstance(item, dict) and mark in map(str, item.values()) and "mark" not in item]
"""
    assert arena.seen(code) == []


def test_capabilities_are_gone(arena: Arena) -> None:
    code = """
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
data = (ctypes.c_uint32 * 6)()
got = call("capget", header, data)
bounding = [n for n in range(64) if libc.prctl(23, ctypes.c_ulong(n), 0, 0, 0) == 1]
(got if isinstance(got, str) else list(data)), bounding, libc.prctl(39, 0, 0, 0, 0)
"""
    data, bounding, no_new_privileges = arena.seen(code)
    assert data in ("EPERM", [0] * 6)
    assert no_new_privileges == 1
    if os.geteuid() == 0:
        assert bounding == []
