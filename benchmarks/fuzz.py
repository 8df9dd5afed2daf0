"""Fuzzed requests against a running server: every answer is a documented status, and right answers stay right.

    python -m benchmarks.fuzz ADDRESS [--rest ADDRESS] [--requests 100000] [--seed 0]

The server should host `digits`; with `--rest` its REST port is sent as many. tests/test_serving_fuzz.py sends a few
thousand.
"""

import argparse
import json
import sys

from benchmarks import fuzz_grpc, fuzz_rest, machine


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("address")
    options.add_argument("--rest")
    options.add_argument("--requests", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    try:
        statuses = {"gRPC": fuzz_grpc.run(given.address, given.requests, given.seed)}
        if given.rest:
            statuses["REST"] = fuzz_rest.run(given.rest, given.requests, given.seed)
    except fuzz_grpc.Surprise as error:
        sys.exit(f"error: {error}")
    for api, seen in statuses.items():
        for status, count in seen.most_common():
            print(f"{count:>8,}  {api} {status}")
    print(json.dumps(machine.document("fuzz", seed=given.seed, statuses=statuses)))


if __name__ == "__main__":
    main()
