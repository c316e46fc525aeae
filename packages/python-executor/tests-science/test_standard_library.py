"""What programs use of the standard library works inside the sandbox."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from python_executor import ExecutionResult

Run = Callable[..., ExecutionResult]

PROGRAMS = {
    "threads with locks, queues and events": """
import queue, threading
total, lock, done, jobs = 0, threading.Lock(), threading.Event(), queue.Queue()
def work():
    global total
    while (job := jobs.get()) is not None:
        with lock:
            total += job
threads = [threading.Thread(target=work, daemon=True) for _ in range(16)]
for thread in threads: thread.start()
for job in [*range(1000), *[None] * 16]: jobs.put(job)
for thread in threads: thread.join()
timer = threading.Timer(0.01, done.set)
timer.start()
assert done.wait(30) and total == 499_500
local = threading.local()
local.x = 1
""",
    "a thread pool": """
from concurrent.futures import ThreadPoolExecutor, as_completed
with ThreadPoolExecutor(8) as pool:
    futures = [pool.submit(pow, 2, n) for n in range(100)]
    assert sum(future.result() for future in as_completed(futures)) == 2**100 - 1
    assert list(pool.map(len, ["a", "bb"])) == [1, 2]
""",
    "asyncio": """
import asyncio
async def double(x):
    await asyncio.sleep(0.001)
    return 2 * x
async def main():
    assert await asyncio.gather(*(double(x) for x in range(50))) == list(range(0, 100, 2))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(double(x)) for x in range(3)]
    assert [task.result() for task in tasks] == [0, 2, 4]
    assert await asyncio.to_thread(sum, [1, 2]) == 3
    queue = asyncio.Queue()
    await queue.put(1)
    assert await asyncio.wait_for(queue.get(), 30) == 1
    try:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(30)
    except TimeoutError:
        return "late"
assert asyncio.run(main()) == "late"
""",
    "sqlite3, in a file and in memory": """
import sqlite3
for name in (":memory:", "a.db"):
    connection = sqlite3.connect(name)
    if name != ":memory:":
        assert connection.execute("pragma journal_mode=wal").fetchone() == ("wal",)
    with connection:
        connection.execute("create table t (a integer primary key, b text)")
        connection.executemany("insert into t (b) values (?)", [(str(i),) for i in range(1000)])
    assert connection.execute("select sum(a), count(*) from t").fetchone() == (500_500, 1000)
    connection.execute("vacuum")
    connection.close()
assert sqlite3.connect("a.db").execute("select count(*) from t").fetchone() == (1000,)
""",
    "tempfile": """
import os, tempfile
assert tempfile.gettempdir() == os.getcwd()
with tempfile.TemporaryFile() as file:
    file.write(b"x" * 100_000)
    assert file.seek(0, 2) == 100_000
with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    assert os.path.exists(file.name)
with tempfile.TemporaryDirectory() as folder:
    os.makedirs(f"{folder}/a/b")
    open(f"{folder}/a/b/c", "w").close()
assert not os.path.exists(folder)
with tempfile.SpooledTemporaryFile(10) as file:
    file.write(b"x" * 100)
""",
    "archives and compression": """
import bz2, gzip, io, lzma, tarfile, zipfile, zlib
data = b"text " * 10_000
for module in (bz2, gzip, lzma, zlib):
    assert module.decompress(module.compress(data)) == data
with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("folder/a.txt", data)
with zipfile.ZipFile("a.zip") as archive:
    assert archive.testzip() is None
    archive.extractall("out")
assert open("out/folder/a.txt", "rb").read() == data
with tarfile.open("a.tar.gz", "w:gz") as archive:
    archive.add("out", "again")
with tarfile.open("a.tar.gz") as archive:
    archive.extractall("tar", filter="data")
assert open("tar/again/folder/a.txt", "rb").read() == data
""",
    "copying, moving and removing files": """
import os, pathlib, shutil
path = pathlib.Path("a/b")
path.mkdir(parents=True)
(path / "c.txt").write_text("text")
for copy in (shutil.copy, shutil.copy2, shutil.copyfile):
    assert pathlib.Path(copy(path / "c.txt", f"{copy.__name__}.txt")).read_text() == "text"
shutil.copytree("a", "d")
shutil.move("d", "e")
os.replace("e/b/c.txt", "f.txt")
os.symlink("f.txt", "g.txt")
assert open("g.txt").read() == "text"
shutil.rmtree("a")
assert sorted(p.name for p in pathlib.Path.cwd().rglob("*.txt")) == [
    "copy.txt", "copy2.txt", "copyfile.txt", "f.txt", "g.txt",
]
os.chmod("f.txt", 0o600)
os.utime("f.txt", (1, 1))
assert shutil.disk_usage(".").total > 0
""",
    "json, csv, pickle, configuration": """
import configparser, csv, json, pickle, tomllib, xml.etree.ElementTree as ET
thing = {"a": [1, 2.5, None, True], "ü": {"b": "\\u2028"}}
with open("a.json", "w") as file:
    json.dump(thing, file, ensure_ascii=False)
assert json.load(open("a.json")) == thing == pickle.loads(pickle.dumps(thing))
with open("a.csv", "w", newline="") as file:
    csv.writer(file).writerows([["a", "b,c"], [1, 'quoted "2"']])
assert list(csv.DictReader(open("a.csv", newline=""))) == [{"a": "1", "b,c": 'quoted "2"'}]
assert tomllib.loads("a = [1, 2]") == {"a": [1, 2]}
parser = configparser.ConfigParser()
parser.read_string("[a]\\nb = 1")
assert parser.getint("a", "b") == 1
assert ET.fromstring("<a><b>1</b></a>").findtext("b") == "1"
""",
    "exact numbers": """
import cmath, math, statistics
from decimal import Decimal, getcontext, localcontext
from fractions import Fraction
assert Decimal("0.1") + Decimal("0.2") == Decimal("0.3")
with localcontext() as context:
    context.prec = 50
    assert str(Decimal(2).sqrt()) == "1.4142135623730950488016887242096980785696718753769"
assert sum(Fraction(1, n) for n in range(1, 5)) == Fraction(25, 12)
assert statistics.median([3, 1, 2]) == 2 and math.comb(10, 5) == 252
assert abs(cmath.exp(1j * math.pi) + 1) < 1e-12
assert len(str(3**9000)) == 4295
""",
    "dates and time zones": """
import calendar, time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones
summer = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Vienna"))
assert summer.utcoffset() == timedelta(hours=2)
assert summer.astimezone(ZoneInfo("America/New_York")).hour == 6
assert len(available_timezones()) > 400
assert datetime.fromisoformat("2026-01-31T00:00:00+00:00").astimezone(UTC).isocalendar().week == 5
assert calendar.monthrange(2028, 2)[1] == 29
assert time.localtime().tm_year >= 2026 and time.tzname
""",
    "random numbers and hashes": """
import hashlib, hmac, random, secrets, uuid
random.seed(1)
first = random.random(), random.gauss(0, 1), random.sample(range(100), 5)
random.seed(1)
assert first == (random.random(), random.gauss(0, 1), random.sample(range(100), 5))
assert len({random.SystemRandom().random(), secrets.token_hex(), uuid.uuid4(), uuid.uuid1()}) == 4
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442")
assert hmac.digest(b"k", b"m", "sha256")
assert hashlib.scrypt(b"p", salt=b"s", n=16, r=1, p=1)
""",
    "what a program asks about its machine": """
import getpass, locale, os, pathlib, platform, resource, sys, sysconfig, time
assert os.cpu_count() >= 1 and len(os.sched_getaffinity(0)) >= 1
assert platform.system() == "Linux" and platform.python_version_tuple()[0] == "3"
assert getpass.getuser() and pathlib.Path.home() == pathlib.Path.cwd()
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
assert locale.getpreferredencoding().lower() == "utf-8" and sys.getfilesystemencoding() == "utf-8"
assert os.getpid() > 0 and os.uname() and os.getloadavg()
assert time.process_time() > 0 and sysconfig.get_paths()
""",
    "signals and timers of its own": """
import signal, threading, time
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
signal.signal(signal.SIGUSR1, lambda *_: seen.append(2))
signal.raise_signal(signal.SIGUSR1)
assert seen == [1, 2]
""",
    "low-level files": """
import array, fcntl, io, mmap, os, select, struct
with open("a", "w+b") as file:
    file.truncate(8192)
    with mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:4] = struct.pack("<I", 7)
    assert file.read(4) == b"\\7\\0\\0\\0"
    fcntl.flock(file, fcntl.LOCK_EX)
    os.fsync(file.fileno())
with mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE) as anonymous:
    anonymous[0] = 1
read, write = os.pipe()
os.write(write, b"x")
assert select.select([read], [], [], 30)[0] == [read]
assert os.read(read, 1) == b"x"
assert sorted(entry.name for entry in os.scandir(".")) == ["a"]
""",
    "logging, doctest and unittest": """
import contextlib, doctest, io, logging, unittest
logging.basicConfig(filename="log.txt", level=logging.INFO)
logging.info("hello")
assert open("log.txt").read() == "INFO:root:hello\\n"
class Case(unittest.TestCase):
    def test_it(self):
        self.assertEqual(1, 1)
output = io.StringIO()
suite = unittest.defaultTestLoader.loadTestsFromTestCase(Case)
assert unittest.TextTestRunner(output).run(suite).wasSuccessful()
def f():
    '''
    >>> f()
    1
    '''
    return 1
assert doctest.testmod().attempted == 1
""",
    "ctypes": """
import ctypes, ctypes.util, math
libc = ctypes.CDLL(None)
assert libc.abs(-3) == 3
pointer = ctypes.POINTER(ctypes.c_int)
callback = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)
numbers = (ctypes.c_int * 5)(3, 1, 2, 5, 4)
compare = callback(lambda a, b: a[0] - b[0])
libc.qsort(numbers, 5, ctypes.sizeof(ctypes.c_int), compare)
assert list(numbers) == [1, 2, 3, 4, 5]
""",
}


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS)
def test_it_works(run_bare: Run, code: str) -> None:
    run_bare(code)
