"""The public SDK in a process of its own: streams for some seconds and checks every sum.

    python -m tests.benchmarks.gateway.sdk_client PORT SIDE SECONDS FRAMES [FILE]

Ends after SECONDS, or after FRAMES if that is not 0; with a FILE of tests.benchmarks.gateway.movies streams that, once.
Prints JSON.
"""

import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext

import numpy as np
from numpy.typing import NDArray

import segdepth
from segdepth.files import open_movie
from tests.benchmarks.gateway.frames import pictures
from tests.benchmarks.gateway.null import words_sum


def main(port: int, side: int, seconds: float, frames: int, file: str) -> None:
    """Stream, verify, report."""
    images = pictures(side)
    end = time.monotonic() + seconds

    def camera() -> Iterator[NDArray[np.uint8]]:
        for number in itertools.count():
            if (frames and number >= frames) or (not frames and time.monotonic() > end):
                return
            yield images[number % len(images)]

    with segdepth.connect(f"127.0.0.1:{port}") as client:
        movie = closing(open_movie(file)) if file else nullcontext(camera())
        with movie as source:
            print(json.dumps(streamed(client, source, [words_sum(image) for image in images])))


def streamed(client: segdepth.Client, source: Iterable[NDArray[np.uint8]], sums: list[int]) -> dict[str, float]:
    """Frames, wall and CPU time [s] of a stream; `sums` are those of its frames, over and over."""
    started, cpu, done = time.monotonic(), time.process_time(), 0
    with client.stream(source, 0.1) as stream:
        while answers := stream.next_answers():
            for answer in answers:
                assert isinstance(answer, segdepth.FrameResult), answer
                assert answer.sequence == done
                seen = int(np.ascontiguousarray(answer.columns.x_px[:2]).view(np.uint64)[0])
                assert seen == sums[done % len(sums)], answer.sequence
                done += 1
    return {"frames": done, "seconds": time.monotonic() - started, "cpu_s": time.process_time() - cpu}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), "".join(sys.argv[5:]))
