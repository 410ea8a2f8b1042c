"""What gRPC alone can do: a bidirectional grpc.aio echo of the same packs, client and server in processes of their own.

python -m tests.benchmarks.gateway.bare server
python -m tests.benchmarks.gateway.bare client PORT SIDE FRAMES_A_PACK SECONDS
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from segdepth_protos import contract
from segdepth_protos.v1 import estimator_pb2
from tests.benchmarks.gateway.frames import pictures

NAME = "bare.Echo"
IN_FLIGHT_FRAMES = 512


async def serve() -> None:
    """Echo until killed; the port is printed."""

    async def echo(requests: AsyncIterator[Any], context: Any) -> None:
        async for request in requests:
            await context.write(request)

    handlers = {
        "Parsed": grpc.stream_stream_rpc_method_handler(
            echo, estimator_pb2.FramePack.FromString, estimator_pb2.FramePack.SerializeToString
        ),
        "Bytes": grpc.stream_stream_rpc_method_handler(echo),
    }
    server = grpc.aio.server(options=contract.CHANNEL_OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


async def measure(port: int, side: int, frames_a_pack: int, seconds: float, method: str) -> dict[str, float]:
    """Send packs for some seconds, as many under way as a stream's credit allows."""
    images = pictures(side)
    frames = [contract.encode_frame(images[n % len(images)], n) for n in range(frames_a_pack)]
    pack = estimator_pb2.FramePack(frames=frames)
    request = pack.SerializeToString() if method == "Bytes" else pack
    credit = asyncio.Semaphore(max(IN_FLIGHT_FRAMES // frames_a_pack, 1))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=contract.CHANNEL_OPTIONS) as channel:
        codecs = (
            (None, None)
            if method == "Bytes"
            else (estimator_pb2.FramePack.SerializeToString, estimator_pb2.FramePack.FromString)
        )
        call = channel.stream_stream(f"/{NAME}/{method}", *codecs)()
        started, cpu, done = time.monotonic(), time.process_time(), 0

        async def send() -> None:
            while time.monotonic() - started < seconds:
                await credit.acquire()
                await call.write(request)
            await call.done_writing()

        sending = asyncio.create_task(send())
        while await call.read() is not grpc.aio.EOF:
            credit.release()
            done += frames_a_pack
        await sending
        wall = time.monotonic() - started
    return {"frames": done, "seconds": wall, "cpu_s": time.process_time() - cpu}


if __name__ == "__main__":
    if sys.argv[1] == "server":
        asyncio.run(serve())
    else:
        port, side, frames_a_pack = map(int, sys.argv[2:5])
        print(json.dumps(asyncio.run(measure(port, side, frames_a_pack, float(sys.argv[5]), sys.argv[6]))))
