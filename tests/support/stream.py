"""What the agents of fault tests write: a stream that anyone can make again and compare, byte by byte.

Run as a script it is the agent: ``python -I -S stream.py SEED CHUNKS PAUSE``; job and attempt come from its
environment, so the streams of two attempts differ. Every stream ends with the digest of all before it.
"""

import hashlib
import os
import random
import sys
import time

STREAMS = ("stdout", "stderr")
_DIGEST = b"end "


def chunks(seed, job, attempt, stream, count):
    """Return the chunks that an attempt writes to one stream: text, NUL, broken and split characters."""
    rng = random.Random(f"{seed}/{job}/{attempt}/{stream}")
    made = []
    for number in range(count):
        body = rng.choice(
            [
                "zeichen ä € 𝄞 ".encode() * rng.randrange(1, 40),
                rng.randbytes(rng.randrange(1, 3000)),
                bytes(rng.randrange(1, 2000)),
                b"line\n" * rng.randrange(1, 200),
                "€".encode()[: rng.randrange(1, 4)],
            ]
        )
        made.append(b"%d.%d.%d " % (job, attempt, number) + body + b"\n")
    made.append(_DIGEST + hashlib.sha256(b"".join(made)).hexdigest().encode())
    return made


def whole(seed, job, attempt, stream, count):
    """Return all that an attempt writes to one stream."""
    return b"".join(chunks(seed, job, attempt, stream, count))


def command(seed, count, pause):
    """Return the prompt that runs this agent."""
    return f"exec {sys.executable} -I -S {__file__} {seed} {count} {pause}"


def main(seed, count, pause):
    """Write both streams, a chunk of each in turn."""
    job, attempt = int(os.environ["ADO_JOB_INDEX"]), int(os.environ["ADO_ATTEMPT"])
    for pair in zip(*(chunks(seed, job, attempt, stream, count) for stream in STREAMS), strict=True):
        for fd, data in zip((1, 2), pair, strict=True):
            left = data
            while left:
                left = left[os.write(fd, left) :]
        time.sleep(pause)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
