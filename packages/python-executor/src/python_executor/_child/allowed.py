"""Which system calls a program may make: an allow-list, its arguments checked where that matters.

Landlock says which *files* may be opened; this says what else may be done. What acts on another
process, on metadata of files, on the network or on the kernel itself is not here, or only with
arguments that mean the program's own process. Whatever a new kernel adds is refused until it is
named here.

The list comes in two filters, because installing a long one takes half a millisecond: the slot
server installs ``server_filter``, which all its interpreters inherit, and each of those adds
``program_filter``, a short one, which takes away what only the server needs. A call must pass both.
"""

from __future__ import annotations

import errno

from . import cloning, linux, notifications
from .seccomp import ALLOW, ASK, Condition, Filter, Program, refusal

_EPERM = refusal(errno.EPERM)
_ENOSYS = refusal(errno.ENOSYS)
_SUCCESS = refusal(0)

_MEMORY = "brk mprotect munmap mremap msync"
# mmap(2). Nameless shared memory stays where it is when its pages are no longer mapped, and then
# nobody can tell whose it is; what grows down counts as stack, for which there is no limit.
_PROT_WRITE, _MAP_SHARED, _MAP_ANONYMOUS, _MAP_GROWS_DOWN = 2, 1, 0x20, 0x100
_MAP_SHARED_ANONYMOUS = _MAP_SHARED | _MAP_ANONYMOUS
_STREAMS = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close
    dup dup2 dup3 pipe pipe2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl
    epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 timerfd_create timerfd_settime
    timerfd_gettime signalfd signalfd4 copy_file_range fsync fdatasync ftruncate flock
"""
# What they may reach, Landlock says.
_FILES = """
    stat lstat fstat newfstatat statx access faccessat faccessat2 readlink
    readlinkat getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename
    renameat renameat2 link linkat symlink symlinkat umask statfs fstatfs
"""
_OWN_PROCESS = """
    getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp
    sched_getaffinity
    set_tid_address set_robust_list rseq futex futex_waitv futex_wake futex_wait futex_requeue
    sched_yield sched_get_priority_max sched_get_priority_min exit exit_group wait4 waitid
    arch_prctl times getrusage getrlimit setrlimit sysinfo uname membarrier getcpu getrandom
    map_shadow_stack
"""
_SIGNALS = """
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait sigaltstack
    restart_syscall pause
"""
_TIME = """
    nanosleep gettimeofday time getitimer setitimer alarm
    timer_settime timer_gettime timer_getoverrun timer_delete
"""
# Of sockets that are there: a stream pair, or with network those that ``socket`` made.
_SOCKETS = "shutdown getsockname getpeername"
_NETWORK = "connect bind listen accept accept4"
# Which argument has the flags. Out of band nothing is sent: in sockets of Unix that is rarely used
# code of the kernel, which was a way out of other sandboxes (CVE-2025-38236).
_RECEIVING = {"recvfrom": 3, "recvmsg": 2}  # the second for servers, if there is no network
_NETWORK_MESSAGES = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3, "recvmmsg": 3}
_MSG_OOB = 1

# As on a file system that has none: shutil.copy2 asks.
_EXTENDED_ATTRIBUTES = "getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr"
# No Landlock covers these, and an owner may change what it can only read: so they do nothing, and
# say that they did, because shutil.copy and zipfile would fail otherwise.
_TIMES = "utime utimes futimesat"
_MODES = "chmod fchmod fchmodat fchmodat2"
# Callers fall back on something else when told that there is no such call. For clone3 they must:
# its arguments lie in memory, where no filter can look.
# Of a file that is sent, pages stay in pipes and sockets that no limit sees, once it is cut off.
_ABSENT = "clone3 memfd_create io_uring_setup openat2 sendfile"

# clone(2).
_CLONE_VM, _CLONE_FS, _CLONE_FILES, _CLONE_SIGHAND, _CLONE_THREAD = (
    0x100,
    0x200,
    0x400,
    0x800,
    0x10000,
)
# Of a thread. One that doesn't share the descriptors would have as many more of its own.
_CLONE_A_THREAD = _CLONE_VM | _CLONE_FS | _CLONE_FILES | _CLONE_SIGHAND | _CLONE_THREAD
_CLONE_PARENT = 0x8000
# Tracing, the parent's children as its own, I/O contexts, pidfds, and every namespace.
_CLONE_REFUSED = (
    0x1000 | 0x2000 | _CLONE_PARENT | 0x800000 | 0x80000000
    | 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000
)  # fmt: skip

_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_SOCK_STREAM, _SOCK_DGRAM, _SOCK_TYPE = 1, 2, 0xF
_SIGKILL = 9
_IPPROTO_TCP, _IPPROTO_UDP = 6, 17
_SOL_SOCKET, _SO_LINGER = 1, 13
# Of the peer, which may be the host: its pid, and a descriptor of it.
_SO_PEERCRED, _SO_PEERPIDFD = 17, 77

# open(2); of O_TMPFILE the bit that is its own.
_O_CREAT, _O_TMPFILE = 0o100, 0o20000000

_S_ISID = 0o6000
_S_IFMT, _S_IFREG, _S_IFIFO = 0o170000, 0o100000, 0o010000

# ioctl(2): is it a terminal, its size, how much can be read, non-blocking, close-on-exec and not.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5451, 0x5450)

# fcntl(2): duplicate; descriptor flags; status flags (get); locks; of pipes, their size (get).
_FCNTLS = (0, 1, 2, 3, 5, 6, 7, 36, 37, 38, 1027, 1030, 1032)
_F_SETFL, _O_ASYNC = 4, 0x2000

# prctl(2): name of the thread and of memory; what only looks: death signal, dumpable, capabilities
# kept, seccomp, capability bounds, timer slack, no_new_privs.
_PRCTLS = (15, 16, 0x53564D41, 2, 3, 7, 21, 23, 30, 39)

# madvise(2). Not: poison, merge with other processes' pages, evict pages that others may share.
_MADVICE = (0, 1, 2, 3, 4, 8, 9, 10, 11, 14, 15, 16, 17, 22, 23, 25)

# posix_fadvise(2). Not: evict from the cache what others may read, too.
_FILE_ADVICE = (0, 1, 2, 3, 5)

# Clocks with this bit are those of a process or a device, by pid or descriptor: of anybody's.
_OF_A_PID = 0x80000000
_CLOCKS = "clock_gettime clock_getres clock_nanosleep timer_create"

_CLOSE_RANGE_UNSHARE = 2  # a table of descriptors for this thread alone, as above

_ANY_PERSONALITY = 0xFFFFFFFF  # asks, and changes nothing


def _is(argument: int, *values: int | None) -> list[tuple[Condition, ...]]:
    return [(Condition(argument, value),) for value in values]


# These take a pid, of which a program may name its own: as 0, or by its number.
_OF_A_PROCESS = """
    prlimit64 sched_setaffinity sched_getparam sched_getscheduler sched_rr_get_interval getpgid
    getsid
"""
_SIGNAL_SENDING = "kill tgkill"
# Of a server, beside what programs may do too: take descriptors, restrict its children, kill them,
# and clear up directories whose modes a umask made odd.
_SERVING = f"""
    {_OF_A_PROCESS} {_SIGNAL_SENDING} {_MODES}
    fork vfork prctl setsid seccomp landlock_restrict_self
"""
# Of a server of sessions, too: hand descriptors to branches, and make rules for them.
_SERVING_SESSIONS = "sendmsg landlock_create_ruleset landlock_add_rule"
# What the servers' own list lets pass and no program may.
_ONLY_SERVING = "fork vfork setsid seccomp landlock_restrict_self"


def server_filter(
    *, network: bool, processes: bool, truncate: bool, bounded: bool, sessions: bool = False
) -> Program:
    """Assemble the filter of slot servers, which is the outer one of programs.

    Args:
        network: whether IP sockets are allowed.
        processes: whether programs may start processes, and execute what Landlock lets them.
        truncate: whether Landlock covers ``truncate`` (ABI 3); it is refused if not.
        bounded: whether a file system bounds what a program writes.
        sessions: whether it is for servers of sessions, which their processes ask (see
            ``question_filter``), and which are the parents of all of them.
    """
    rules = Filter(_EPERM)
    for names in (_MEMORY, _STREAMS, _FILES, _OWN_PROCESS, _SIGNALS, _TIME, _SOCKETS, _SERVING):
        rules.answer(ALLOW, *names.split())
    rules.answer(_SUCCESS, *_TIMES.split())
    # "Now" is what Path.touch() asks first, to find out whether it must make the file.
    now = (Condition(2, 0, wide=True),)
    rules.allow_if("utimensat", now, then=_EPERM, otherwise=_SUCCESS)
    rules.answer(_ENOSYS, *_ABSENT.split())
    rules.answer(refusal(errno.ENOTSUP), *_EXTENDED_ATTRIBUTES.split())
    if truncate:
        rules.answer(ALLOW, "truncate")
    # It takes gigabytes in a moment, before anybody has looked.
    rules.answer(ALLOW if bounded else refusal(errno.EOPNOTSUPP), "fallocate")
    if processes:
        rules.answer(ALLOW, "execve", "execveat", "setpgid")

    rules.allow_if(
        "mmap",
        (Condition(3, _MAP_SHARED_ANONYMOUS, _MAP_SHARED_ANONYMOUS),),
        (Condition(3, _MAP_GROWS_DOWN, _MAP_GROWS_DOWN),),
        then=_EPERM,
        otherwise=ALLOW,
    )
    answering = (notifications.RECEIVE, notifications.SEND) if sessions else ()
    rules.allow_if("ioctl", *_is(1, *_IOCTLS, *answering), otherwise=refusal(errno.ENOTTY))
    rules.allow_if(
        "fcntl",
        *_is(1, *_FCNTLS),
        (Condition(1, _F_SETFL), Condition(2, 0, _O_ASYNC)),
        otherwise=_EPERM,
    )
    rules.allow_if("madvise", *_is(2, *_MADVICE), otherwise=refusal(errno.EINVAL))
    rules.allow_if("fadvise64", *_is(3, *_FILE_ADVICE), otherwise=refusal(errno.EINVAL))
    for name in _CLOCKS.split():
        rules.allow_if(name, (Condition(0, 0, _OF_A_PID),), otherwise=refusal(errno.EINVAL))
    share = (Condition(2, 0, _CLOSE_RANGE_UNSHARE),)
    rules.allow_if("close_range", share, otherwise=refusal(errno.EINVAL))
    rules.allow_if("personality", *_is(0, _ANY_PERSONALITY), otherwise=_EPERM)
    rules.allow_if("getpriority", (Condition(0, 0), Condition(1, 0)), otherwise=_EPERM)
    refused = _CLONE_REFUSED & ~_CLONE_PARENT if sessions else _CLONE_REFUSED
    rules.allow_if("clone", (Condition(0, 0, refused),), otherwise=_EPERM)
    if sessions:
        rules.answer(ALLOW, *_SERVING_SESSIONS.split())
    for name, mode in (("mknod", 1), ("mknodat", 2)):
        rules.allow_if(
            name,
            *((Condition(mode, kind, _S_IFMT | _S_ISID),) for kind in (0, _S_IFREG, _S_IFIFO)),
            otherwise=_EPERM,
        )
    # In a granted directory a set-user-id file would be this pool's user's, for anybody to run.
    rules.allow_if("creat", (Condition(1, 0, _S_ISID),), otherwise=_EPERM)
    for name, mode in (("open", 2), ("openat", 3)):
        rules.allow_if(
            name,
            (Condition(mode, 0, _S_ISID),),
            (Condition(mode - 1, 0, _O_CREAT | _O_TMPFILE),),  # the mode means nothing then
            otherwise=_EPERM,
        )
    _sockets(rules, network=network)
    return rules.assemble()


def _sockets(rules: Filter, *, network: bool) -> None:
    # A stream pair is connected for good. Datagrams could be sent to any socket of the host.
    stream = (Condition(0, _AF_UNIX), Condition(1, _SOCK_STREAM, _SOCK_TYPE))
    rules.allow_if("socketpair", stream, otherwise=_EPERM)
    peer = [(Condition(1, _SOL_SOCKET), Condition(2, of)) for of in (_SO_PEERCRED, _SO_PEERPIDFD)]
    rules.allow_if("getsockopt", *peer, then=_EPERM, otherwise=ALLOW)
    for name, flags in (_RECEIVING | (_NETWORK_MESSAGES if network else {})).items():
        in_band = (Condition(flags, 0, _MSG_OOB),)
        rules.allow_if(name, in_band, otherwise=refusal(errno.EOPNOTSUPP))
    if not network:
        connected = (Condition(3, 0, _MSG_OOB), Condition(4, 0, wide=True))
        rules.allow_if("sendto", connected, otherwise=_EPERM)
        return
    rules.allow_if(
        "socket",
        *(
            (Condition(0, family), Condition(1, kind, _SOCK_TYPE), Condition(2, protocol))
            for family in (_AF_INET, _AF_INET6)
            for kind, own in ((_SOCK_STREAM, _IPPROTO_TCP), (_SOCK_DGRAM, _IPPROTO_UDP))
            for protocol in (0, own)
        ),
        otherwise=refusal(errno.EAFNOSUPPORT),
    )
    rules.answer(ALLOW, *_NETWORK.split())
    # The last one who closes such a socket waits: that may be the host, if it is sent there.
    linger = (Condition(1, _SOL_SOCKET), Condition(2, _SO_LINGER))
    rules.allow_if("setsockopt", linger, then=_SUCCESS, otherwise=ALLOW)


def program_filter(
    *, network: bool, processes: bool, scoped: bool, sessions: bool = False
) -> Program:
    """Assemble the filter that each program has beside ``server_filter``.

    Args:
        network: whether IP sockets are allowed.
        processes: whether programs may start processes.
        scoped: whether Landlock keeps signals within the domain (ABI 6); only then may programs
            that start processes signal others than themselves.
        sessions: whether ``question_filter`` decides on pids.
    """
    rules = Filter(ALLOW)
    if not sessions:
        for name in _OF_A_PROCESS.split():
            rules.allow_if(name, *_is(0, 0, None), otherwise=_EPERM)
        if not (processes and scoped):
            for name in _SIGNAL_SENDING.split():
                rules.allow_if(name, *_is(0, None), otherwise=_EPERM)
    dying = [(Condition(0, linux.PR_SET_PDEATHSIG), Condition(1, _SIGKILL))] if sessions else []
    rules.allow_if("prctl", *_is(0, *_PRCTLS), *dying, otherwise=_EPERM)
    rules.answer(_SUCCESS, *_MODES.split())
    refused = set(_ONLY_SERVING.split())
    if sessions:
        # A copy leads its own group; a branch has rules of its own.
        refused -= {"setsid", "landlock_restrict_self"}
        refused |= set(_SERVING_SESSIONS.split()) - {"sendmsg"}
        # Which signal it sends lies in memory: with SIGCONT, what was stopped goes on by itself.
        refused.add("timer_create")
    if processes:
        refused -= {"fork", "vfork", "setsid"}
        process = [(Condition(0, 0, _CLONE_THREAD | (_CLONE_PARENT if sessions else 0)),)]
    else:
        process = []
    thread = (Condition(0, _CLONE_A_THREAD, _CLONE_A_THREAD),)
    if sessions:
        process.append((Condition(0, cloning.FLAGS),))
    rules.allow_if("clone", thread, *process, otherwise=_EPERM)
    if not network:  # a branch takes its descriptors
        refused |= {"sendmsg"} if sessions else {"recvmsg"}
    rules.answer(_EPERM, *sorted(refused))
    return rules.assemble()


def question_filter() -> Program:
    """Assemble the filter by which processes of sessions ask their server.

    About pids: checkpoints and branches inherit it, and theirs are others. About forks that make
    a child of the server: which one was agreed on, it knows. About files that are mapped to be
    written to, because it is to know of them.
    """
    rules = Filter(ALLOW)
    for name in _OF_A_PROCESS.split():
        rules.allow_if(name, *_is(0, 0), otherwise=ASK)
    rules.answer(ASK, *_SIGNAL_SENDING.split())
    beside = (Condition(0, _CLONE_PARENT, _CLONE_PARENT),)
    rules.allow_if("clone", beside, then=ASK, otherwise=ALLOW)
    writing = (
        Condition(2, _PROT_WRITE, _PROT_WRITE),
        Condition(3, _MAP_SHARED, _MAP_SHARED | _MAP_ANONYMOUS),
    )
    rules.allow_if("mmap", writing, then=ASK, otherwise=ALLOW)
    return rules.assemble()
