"""One round on CPython's ThreadPoolExecutor: the same jobs as blocking.rs, and what they cost."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

IN_FLIGHT = 10_000
ASLEEP = 512


def echo(number):
    return number


def job(number):
    # About a microsecond.
    sum(range(60))
    return number


def nap(number):
    time.sleep(0.01)
    return number


def latency(pool, ops):
    for number in range(ops):
        assert pool.submit(echo, number).result() == number


def in_flight(pool, ops, function, limit):
    total = 0
    for first in range(0, ops, limit):
        numbers = range(first, min(ops, first + limit))
        jobs = [pool.submit(function, number) for number in numbers]
        total += sum(job.result() for job in jobs)
    assert total == ops * (ops - 1) // 2


def throughput(pool, ops):
    in_flight(pool, ops, job, IN_FLIGHT)


def mapped(pool, ops):
    total = 0
    for first in range(0, ops, IN_FLIGHT):
        total += sum(pool.map(job, range(first, min(ops, first + IN_FLIGHT)), chunksize=64))
    assert total == ops * (ops - 1) // 2


def naps(pool, ops):
    in_flight(pool, ops, nap, ops)


# What to do, and with how many threads: the default but where the jobs sleep.
WORKLOADS = {
    "blocking_lat": (latency, None),
    "blocking_tput": (throughput, None),
    "blocking_map": (mapped, None),
    "blocking_naps": (naps, ASLEEP),
}

workload, warm_up, ops = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
run, threads = WORKLOADS[workload]
with ThreadPoolExecutor(threads) as pool:
    if warm_up:
        run(pool, warm_up)
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    run(pool, ops)
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
print(json.dumps({"cpu": cpu, "wall": wall}))
