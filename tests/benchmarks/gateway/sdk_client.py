"""The public SDK in a process of its own: streams for some seconds and checks every sum.

    python -m tests.benchmarks.gateway.sdk_client PORT SIDE SECONDS FRAMES

Ends after SECONDS, or after FRAMES if that is not 0. Prints JSON.
"""

import itertools
import json
import sys
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import segdepth
from tests.benchmarks.gateway.frames import pictures
from tests.benchmarks.gateway.null import words_sum


def main(port: int, side: int, seconds: float, frames: int) -> None:
    """Stream, verify, report."""
    images = pictures(side)
    sums = [words_sum(image) for image in images]
    end = time.monotonic() + seconds

    def camera() -> Iterator[NDArray[np.uint8]]:
        for number in itertools.count():
            if (frames and number >= frames) or (not frames and time.monotonic() > end):
                return
            yield images[number % len(images)]

    with segdepth.connect(f"127.0.0.1:{port}") as client:
        started, cpu, done = time.monotonic(), time.process_time(), 0
        with client.stream(camera(), 0.1) as stream:
            while answers := stream.next_answers():
                for answer in answers:
                    assert isinstance(answer, segdepth.FrameResult), answer
                    assert answer.sequence == done
                    seen = int(np.ascontiguousarray(answer.columns.x_px[:2]).view(np.uint64)[0])
                    assert seen == sums[done % len(sums)], answer.sequence
                    done += 1
        wall = time.monotonic() - started
    print(json.dumps({"frames": done, "seconds": wall, "cpu_s": time.process_time() - cpu}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
