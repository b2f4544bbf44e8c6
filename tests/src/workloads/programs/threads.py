#!/usr/bin/python3
"""A pool of threads: each compresses a shard of the input into a file of its own; a bounded queue between two stages."""

import concurrent.futures
import gzip
import hashlib
import json
import pathlib
import queue
import random
import sys
import tempfile
import threading

seed = int(sys.argv[1])
chance = random.Random(seed)
root = pathlib.Path("/data/threads")
(root / "shards").mkdir(parents=True)
count = 3 + chance.randrange(6)
names = [f"shard-{chance.randrange(10_000):05}-{number}" for number in range(count)]


def stage(name):
    content = f"{name} {seed}\n".encode() * 200
    with tempfile.NamedTemporaryFile(dir=root / "shards", delete=False) as part:
        part.write(gzip.compress(content, mtime=0))
    target = root / "shards" / f"{name}.json.gz"
    pathlib.Path(part.name).rename(target)
    return target


waiting = queue.Queue(2)
digests = {}


def read():
    while (path := waiting.get()) is not None:
        with gzip.open(path) as file:
            digests[path.name] = hashlib.sha256(file.read()).hexdigest()


readers = [threading.Thread(target=read, daemon=True) for _ in range(2)]
for reader in readers:
    reader.start()
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    for path in pool.map(stage, names):
        waiting.put(path)
for reader in readers:
    waiting.put(None)
for reader in readers:
    reader.join()

with tempfile.TemporaryDirectory() as scratch:
    index = pathlib.Path(scratch, "index.json")
    index.write_text(json.dumps(digests, sort_keys=True))
    digest = hashlib.sha256(index.read_bytes()).hexdigest()
assert sorted(digests) == sorted(f"{name}.json.gz" for name in names)
assert len(list((root / "shards").iterdir())) == count
print("ok", seed, count, digest)
