"""Python's pools of processes: the same jobs as in the files beside this one, and what they cost.

A module, and not a script, so that workers that are started anew can import the functions.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

WORKERS = 2
IN_FLIGHT = 10_000
CHUNK = 100
STEP = 4_096
MEBIBYTE = 1 << 20
PAUSE = 0.002
PER_COLD = 20
NAP = 0.02
TRIES = 200


# The jobs.


def echo(number):
    return number


def increment(number):
    return number + 1


def nap(seconds):
    time.sleep(seconds)
    return os.getpid()


def hold(begun):
    with open(begun, "wb"):
        pass
    time.sleep(3_600)


def look_at(data):
    return sum(data[::STEP])


def and_back(data):
    look_at(data)
    return data


# The pools.


class CPython:
    def __init__(self, workers):
        self.executor = ProcessPoolExecutor(workers)

    def submit(self, function, *arguments):
        return self.executor.submit(function, *arguments)

    def on_loop(self, loop, function, argument):
        return loop.run_in_executor(self.executor, function, argument)

    def map(self, function, items, chunksize):
        return self.executor.map(function, items, chunksize=chunksize)

    def end(self):
        self.executor.shutdown()


class Loky(CPython):
    def __init__(self, workers):
        import loky

        self.executor = loky.ProcessPoolExecutor(workers)


class Pebble(CPython):
    def __init__(self, workers):
        import pebble

        self.executor = pebble.ProcessPool(workers)

    def submit(self, function, *arguments):
        return self.executor.schedule(function, args=arguments)

    def on_loop(self, loop, function, argument):
        # No limit of time.
        return loop.run_in_executor(self.executor, function, None, argument)

    def map(self, function, items, chunksize):
        return self.executor.map(function, items, chunksize=chunksize).result()

    def end(self):
        self.executor.close()
        self.executor.join()


POOLS = {"cpython": CPython, "loky": Loky, "pebble": Pebble}


# This process and its descendants.


def family():
    children = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    parent = int(stat.read().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(name))
    known = [os.getpid()]
    for pid in known:
        known.extend(children.get(pid, []))
    return known


def cpu(pids):
    # The clock of a process: see clock_getcpuclockid(3).
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        fields = dict(line.split(":", 1) for line in list(rollup)[1:])
    return [int(fields[name].split()[0]) for name in ("Pss", "Private_Dirty")]


def descriptors():
    # One is that of the listing.
    return len(os.listdir("/proc/self/fd")) - 1


def resident():
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["VmRSS"].split()[0]) * 1024


# The workloads.


def percentile(times, share):
    times.sort()
    return times[min(int(len(times) * share), len(times) - 1)]


def microseconds(times):
    return percentile(times, 0.5) * 1e6


def trips(warm, cold):
    return {
        "warm_p50": percentile(warm, 0.5) * 1e6,
        "warm_p99": percentile(warm, 0.99) * 1e6,
        "cold_p50": percentile(cold, 0.5) * 1e6,
        "cold_p99": percentile(cold, 0.99) * 1e6,
    }


def round_trips(start, ops):
    pool = start(WORKERS)

    def ask(number):
        begun = time.perf_counter()
        answer = pool.submit(echo, number).result()
        took = time.perf_counter() - begun
        assert answer == number
        return took

    for number in range(ops // 10 + 10):
        ask(number)
    warm = [ask(number) for number in range(ops)]
    cold = []
    for number in range(ops // PER_COLD + 1):
        time.sleep(PAUSE)
        cold.append(ask(number))
    pool.end()
    return trips(warm, cold)


def loop_round_trips(start, ops):
    pool = start(WORKERS)

    async def run():
        loop = asyncio.get_running_loop()

        async def ask(number):
            begun = time.perf_counter()
            answer = await pool.on_loop(loop, echo, number)
            took = time.perf_counter() - begun
            assert answer == number
            return took

        for number in range(ops // 10 + 10):
            await ask(number)
        warm = [await ask(number) for number in range(ops)]
        cold = []
        for number in range(ops // PER_COLD + 1):
            await asyncio.sleep(PAUSE)
            cold.append(await ask(number))
        return trips(warm, cold)

    told = asyncio.run(run())
    pool.end()
    return told


def throughput(start, ops):
    pool = start(WORKERS)

    def run(ops):
        total = 0
        for first in range(0, ops, IN_FLIGHT):
            numbers = range(first, min(ops, first + IN_FLIGHT))
            jobs = [pool.submit(echo, number) for number in numbers]
            total += sum(job.result() for job in jobs)
        assert total == ops * (ops - 1) // 2

    run(ops // 10 + 10)
    pids = family()
    begun, before = time.perf_counter(), cpu(pids)
    run(ops)
    took, used = time.perf_counter() - begun, cpu(pids) - before
    pool.end()
    return {"": ops / took, "cpu": used * 1e6 / ops}


def map_items(start, ops):
    pool = start(WORKERS)

    def run(ops, chunksize):
        begun = time.perf_counter()
        for number, result in enumerate(pool.map(increment, range(ops), chunksize)):
            assert result == number + 1
        return ops / (time.perf_counter() - begun)

    run(ops // 10 + 1, 1)
    single = run(ops, 1)
    run(ops // 10 + 1, CHUNK)
    chunks = run(ops, CHUNK)
    pool.end()
    return {"single": single, "chunks": chunks}


def data(mebibytes):
    def measure(start, ops):
        pool = start(WORKERS)
        content = b"".join(
            bytes([page % 256]) * STEP for page in range(mebibytes * MEBIBYTE // STEP)
        )
        expected = look_at(content)

        def there():
            begun = time.perf_counter()
            assert pool.submit(look_at, content).result() == expected
            return time.perf_counter() - begun

        def there_and_back():
            begun = time.perf_counter()
            result = pool.submit(and_back, content).result()
            assert len(result) == len(content) and look_at(result) == expected
            return time.perf_counter() - begun

        def median(call):
            for _ in range(ops // 10 + 2):
                call()
            return microseconds([call() for _ in range(ops)])

        told = {"there": median(there), "and_back": median(there_and_back)}
        pool.end()
        return told

    return measure


def start_with(size):
    def measure(start, ops):
        # Ones: the kernel has zeros without memory.
        ballast = bytearray(b"\1") * max(0, size - resident())

        def first():
            begun = time.perf_counter()
            pool = start(WORKERS)
            assert pool.submit(echo, 1).result() == 1
            took = time.perf_counter() - begun
            pool.end()
            return took

        first()
        told = {"": microseconds([first() for _ in range(ops)])}
        del ballast
        return told

    return measure


def kill(start, ops):
    pool = start(1)
    worker = pool.submit(nap, 0).result()
    times = []
    with tempfile.TemporaryDirectory() as directory:
        begun = os.path.join(directory, "begun")
        for _ in range(ops):
            job = pool.submit(hold, begun)
            while not os.path.exists(begun):
                time.sleep(0.001)
            os.remove(begun)
            killed = time.perf_counter()
            os.kill(worker, signal.SIGKILL)
            assert job.exception() is not None
            after = pool.submit(nap, 0).result()
            times.append(time.perf_counter() - killed)
            assert after != worker
            worker = after
    pool.end()
    return {"": microseconds(times)}


def worker_memory(start, ops):
    pool = start(WORKERS)
    workers = set()
    for _ in range(TRIES):
        jobs = [pool.submit(nap, NAP) for _ in range(WORKERS)]
        workers.update(job.result() for job in jobs)
        if len(workers) == WORKERS:
            break
    assert len(workers) == WORKERS
    pss, private = zip(*(memory(worker) for worker in workers))
    total = sum(memory(pid)[0] for pid in family()[1:])
    pool.end()
    return {"pss": statistics.mean(pss), "private": statistics.mean(private), "total": total}


def queued(start, ops):
    pool = start(WORKERS)
    for job in [pool.submit(echo, 0) for _ in range(WORKERS)]:
        job.result()
    before = peak = descriptors()
    jobs = []
    for number in range(ops):
        jobs.append(pool.submit(echo, number))
        if number % 1_000 == 0:
            peak = max(peak, descriptors())
    peak = max(peak, descriptors())
    assert sum(job.result() for job in jobs) == ops * (ops - 1) // 2
    after = descriptors()
    pool.end()
    return {"before": before, "peak": peak, "after": after}


ROWS = {
    "proc_rtt": round_trips,
    "proc_rtt_loop": loop_round_trips,
    "proc_tput": throughput,
    "proc_map": map_items,
    "proc_1mib": data(1),
    "proc_64mib": data(64),
    "proc_start": start_with(20 * MEBIBYTE),
    "proc_start_2gib": start_with(2_048 * MEBIBYTE),
    "proc_kill": kill,
    "proc_memory": worker_memory,
    "proc_queued": queued,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime", choices=POOLS, required=True)
    parser.add_argument("--row", choices=ROWS, required=True)
    parser.add_argument("--ops", type=int, required=True)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        told = {"figures": ROWS[options.row](POOLS[options.runtime], options.ops)}
    except BrokenProcessPool:
        # loky's errors are derived from it.
        told = {"word": "breaks"}
    print(json.dumps(told), flush=True)
