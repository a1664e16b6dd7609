"""One round of pylibmc: threads with a pool of connections, operations per second on standard output."""

import sys
import threading
import time

import pylibmc

address, kind, size, threads, keys, many, seconds = sys.argv[1:]
size, threads, keys, many, seconds = int(size), int(threads), int(keys), int(many), float(seconds)
client = pylibmc.Client([address], behaviors={"tcp_nodelay": True})
pool = pylibmc.ClientPool(client, min(threads, 16))
names = [f"bench:key:{number}" for number in range(keys)]
value = b"v" * size
start = time.monotonic() + seconds / 5
end = start + seconds
counts = [0] * threads


def run(thread):
    turn = thread * 37
    while True:
        turn += 1
        with pool.reserve(block=True) as client:
            if kind == "get":
                assert len(client.get(names[turn % keys])) == size
            elif kind == "set":
                client.set(names[turn % keys], value)
            else:
                first = turn % (keys - many)
                assert len(client.get_multi(names[first : first + many])) == many
        now = time.monotonic()
        if now >= end:
            return
        if now >= start:
            counts[thread] += 1


running = [threading.Thread(target=run, args=(thread,)) for thread in range(threads)]
for thread in running:
    thread.start()
for thread in running:
    thread.join()
print(sum(counts) / seconds)
