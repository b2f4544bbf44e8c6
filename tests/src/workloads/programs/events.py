#!/usr/bin/python3
"""An event loop: a TCP and a unix server with several clients each, subprocesses, and files written by an executor."""

import asyncio
import hashlib
import os
import random
import sys
import uuid

seed = int(sys.argv[1])
chance = random.Random(seed)
root = f"/data/events/session-{uuid.UUID(int=chance.getrandbits(128))}"


def store(body):
    path = os.path.join(root, f"{hashlib.sha256(body).hexdigest()}.blob")
    with open(path, "xb") as file:
        file.write(body)
    with open(path, "rb") as file:
        return len(file.read())


async def serve(reader, writer):
    body = await reader.readline()
    stored = await asyncio.get_running_loop().run_in_executor(None, store, body)
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", "wc -c", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    counted, _ = await process.communicate(body)
    assert int(counted) == stored
    writer.write(hashlib.sha256(body).hexdigest().encode() + b"\n")
    await writer.drain()
    writer.close()


async def ask(connect, number):
    reader, writer = await connect()
    body = f"{seed} {number}\n".encode()
    writer.write(body)
    answer = (await reader.readline()).decode().strip()
    writer.close()
    assert answer == hashlib.sha256(body).hexdigest()
    return answer


async def main():
    os.makedirs(root)
    tcp = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = tcp.sockets[0].getsockname()[1]
    socket = f"/tmp/events-{os.getpid()}.sock"
    unix = await asyncio.start_unix_server(serve, socket)
    count = 2 + chance.randrange(3)
    tasks = [ask(lambda: asyncio.open_connection("127.0.0.1", port), number) for number in range(count)]
    tasks += [ask(lambda: asyncio.open_unix_connection(socket), count + number) for number in range(count)]
    answers = await asyncio.wait_for(asyncio.gather(*tasks), 40)
    tcp.close()
    unix.close()
    await asyncio.sleep(0)
    os.unlink(socket)
    assert len(os.listdir(root)) == 2 * count
    print("ok", seed, count, hashlib.sha256("".join(answers).encode()).hexdigest())


asyncio.run(main())
