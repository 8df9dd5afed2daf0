"""The same in an event loop, several requests at a time: python client/examples/classify_async.py FILE..."""

import asyncio
import os
import sys

from client import AsyncClient


async def main() -> None:
    """Classify the files of the command line while the loop is free for other work."""
    async with AsyncClient(os.environ.get("DIGITS_SERVER", "127.0.0.1:8500")) as client:
        await client.wait_until_ready(10)
        async for result in client.stream(sys.argv[1:]):
            answer = result.prediction.digit if result.prediction else result.error
            print(f"{result.picture!s}: {answer}")


sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a name may be no text
asyncio.run(main())
