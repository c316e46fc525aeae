"""What programs may read beside what the policy grants: the system, and this Python."""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH110, PTH111, PTH117, PTH120, PTH207
from __future__ import annotations

import glob
import os
import site
import sys

# ``/etc`` file by file: the linker's and the C library's settings, time, names of types and
# distributions, fonts; no users, no hosts, no keys.
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/os-release", "/etc/mime.types"),
    *("/etc/fonts", "/etc/locale.alias", "/etc/python3*"),
    *("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"),
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"),
)
_FOR_NETWORK = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services"),
    *("/etc/host.conf", "/etc/protocols", "/etc/ca-certificates", "/etc/pki/ca-trust/extracted"),
    # Certificates and OpenSSL's settings. Beside them, in ``private``, lie the keys of servers.
    *("/etc/ssl/certs", "/etc/ssl/*.pem", "/etc/ssl/openssl.cnf"),
    *("/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf"),
)
WRITABLE = ("/dev/null", "/dev/full")


def readable(*, network: bool) -> list[str]:
    """Return files and folders, without doubles; some may not exist."""
    patterns = (*_SYSTEM, *(_FOR_NETWORK if network else ()))
    found = [path for pattern in patterns for path in glob.glob(pattern)]
    return list(dict.fromkeys((*found, *python())))


def python() -> list[str]:
    """Return this interpreter, its environment, and all that it imports from."""
    paths = [
        os.path.dirname(os.__file__),  # sysconfig would say, and import threading since 3.12
        *site.getsitepackages(),
        *(path for path in sys.path if os.path.isabs(path)),
        os.path.dirname(os.path.realpath(sys.executable)),
        os.path.dirname(__file__),
    ]
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}:
        # An installation is granted whole, for its shared libraries, but never somebody's home.
        paths += [prefix] if _is_installation(prefix) else [f"{prefix}/lib", f"{prefix}/lib64"]
    return sorted({os.path.realpath(path) for path in paths if os.path.exists(path)})


def _is_installation(prefix: str) -> bool:
    """Whether a prefix holds a Python and nothing of anybody's."""
    real = os.path.realpath(prefix)
    homes = {os.path.expanduser("~"), "/root", "/home", "/tmp"}  # noqa: S108
    return not any((os.path.realpath(home) + "/").startswith(real + "/") for home in homes)
