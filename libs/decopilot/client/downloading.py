"""Reading a file's bytes, each once, over as many connections as it takes."""

import asyncio
from collections.abc import AsyncGenerator

from decopilot.client.calling import LOST, TRANSIENT, Caller, backoff, refusal, retry_after
from decopilot.client.errors import ApiError, ClientError, UnreachableError

_WHOLE, _PART, _BEHIND_THE_END, _UNAUTHENTICATED = 200, 206, 416, 401


async def download(caller: Caller, path: str) -> AsyncGenerator[bytes, None]:
    """Yield a file's bytes; where a connection is lost, the next one goes on behind what came.

    Raises:
        ApiError: refused, also in the middle: the file may have been erased meanwhile.
        UnreachableError: nothing came within the deadline.

    """
    clock = asyncio.get_running_loop().time
    begin, pauses, deadline = 0, backoff(), clock() + caller.deadline_s
    may_ask_for_token = caller.has_fresh_tokens
    while True:
        wait_s = 0.0
        try:
            async with caller.open("GET", path, headers={"Range": f"bytes={begin}-"} if begin else {}) as response:
                if response.status == _BEHIND_THE_END and begin:
                    return
                if response.status not in {_WHOLE, _PART}:
                    failure: ClientError = await refusal(response)
                    if response.status == _UNAUTHENTICATED and may_ask_for_token:
                        may_ask_for_token = False
                        continue
                    if response.status not in TRANSIENT:
                        raise failure
                    wait_s = retry_after(response)
                elif begin and response.status == _WHOLE:
                    raise ApiError(_WHOLE, "unknown", "The file can't be gone on with: ranges are not served.")
                else:
                    async for piece in response.content.iter_any():
                        begin += len(piece)
                        pauses, deadline = backoff(), clock() + caller.deadline_s
                        yield piece
                    return
        except LOST as error:
            failure = UnreachableError(caller.url, caller.deadline_s, error)
        wait_s = max(next(pauses), wait_s)
        if clock() + wait_s >= deadline:
            raise failure
        await asyncio.sleep(wait_s)
