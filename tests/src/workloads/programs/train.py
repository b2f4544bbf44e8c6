#!/usr/bin/python3
"""A training loop: workers read shards of a data set into shared memory, the loop steps and keeps its last three
checkpoints, each written under a temporary name."""

import array
import hashlib
import json
import multiprocessing
import multiprocessing.shared_memory
import os
import pickle
import random
import sys
import tempfile

KEPT = 3
EVERY = 10
SIZE = 256


def load(path):
    with open(path, "rb") as file:
        return array.array("d", file.read())


def worker(paths, ready, name, slot, lock, turns):
    memory = multiprocessing.shared_memory.SharedMemory(name)
    total = 0.0
    for path in iter(paths.get, None):
        total += sum(load(path))
        with lock:
            turns.value += 1
    memory.buf[slot * 8 : slot * 8 + 8] = array.array("d", [total]).tobytes()
    memory.close()
    ready.put(slot)


def save(folder, step, state):
    with tempfile.NamedTemporaryFile("wb", dir=folder, prefix=".ckpt-", suffix=".tmp", delete=False) as file:
        pickle.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(file.name, os.path.join(folder, f"ckpt-{step:05}.pt"))
    link = os.path.join(folder, "latest.new")
    os.symlink(f"ckpt-{step:05}.pt", link)
    os.replace(link, os.path.join(folder, "latest"))
    kept = sorted(name for name in os.listdir(folder) if name.startswith("ckpt-"))
    for old in kept[:-KEPT]:
        os.unlink(os.path.join(folder, old))


def main():
    seed = int(sys.argv[1])
    chance = random.Random(seed)
    data, folder = "/data/train/dataset", "/data/train/checkpoints"
    os.makedirs(data)
    os.makedirs(folder)
    shards = []
    for number in range(3 + chance.randrange(5)):
        path = os.path.join(data, f"part-{number:05}-{chance.getrandbits(64):016x}.bin")
        with open(path, "wb") as file:
            array.array("d", [chance.random() for _ in range(SIZE)]).tofile(file)
        shards.append(path)

    count = 2 + chance.randrange(2)
    paths, ready = multiprocessing.Queue(), multiprocessing.Queue()
    lock, turns = multiprocessing.Lock(), multiprocessing.Value("i", 0)
    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=count * 8)
    workers = [
        multiprocessing.Process(target=worker, daemon=True, args=(paths, ready, memory.name, slot, lock, turns))
        for slot in range(count)
    ]
    for one in workers:
        one.start()
    for path in shards + [None] * count:
        paths.put(path)
    for _ in workers:
        ready.get(timeout=40)
    for one in workers:
        one.join()
        assert one.exitcode == 0
    loss = sum(array.array("d", bytes(memory.buf[: count * 8])))
    memory.close()
    memory.unlink()
    assert turns.value == len(shards)

    # A run that goes on where another stopped.
    first = EVERY * chance.randrange(1, 900)
    steps = [first + EVERY * number for number in range(4 + chance.randrange(3))]
    with open("/data/train/metrics.jsonl", "a", encoding="utf-8") as log:
        for step in steps:
            save(folder, step, {"step": step, "loss": round(loss / step, 6)})
            log.write(json.dumps({"step": step}) + "\n")
    with open(os.path.join(folder, "latest"), "rb") as file:
        state = pickle.load(file)
    assert state["step"] == steps[-1]
    assert len(os.listdir(folder)) == KEPT + 1
    digest = hashlib.sha256(f"{loss:.6f}".encode()).hexdigest()
    print("ok", seed, len(shards), steps[-1], digest)


main()
