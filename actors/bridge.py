"""Asking actors from asyncio: the loop is never blocked and no thread waits.

Used by request handlers on the loop thread. The answer comes back through `call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from actors.directory import Directory
from actors.futures import ASK_TIMEOUT, AskFuture
from actors.messages import ActorFailed, Key


class Bridge:
    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def ask_async(
        self,
        key: Key,
        message: object,
        timeout: float = ASK_TIMEOUT,  # noqa: ASYNC109 - asyncio.timeout could not withdraw the ask
    ) -> Any:
        """The actor's answer, or its error; ActorTimeout (503) after `timeout` seconds.

        Raises at once what `Directory.ask` raises. An ask that times out or is cancelled before an actor
        took it up is withdrawn and never carried out.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        reply = self._directory.ask(key, message)

        def settled(_: AskFuture) -> None:
            # A loop that is closed has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_pass_on, reply, answer)

        def expire() -> None:
            if not answer.done():
                answer.set_exception(reply.expired(timeout))

        reply.add_done_callback(settled)
        expiry = loop.call_later(timeout, expire)
        try:
            return await answer
        except asyncio.CancelledError:
            reply.withdraw()
            raise
        finally:
            expiry.cancel()


def _pass_on(reply: AskFuture, answer: asyncio.Future[Any]) -> None:
    if answer.done():
        return
    try:
        answer.set_result(reply.get(timeout=0))
    except Exception as error:
        if isinstance(error, StopIteration):  # a future refuses it
            answer.set_exception(ActorFailed(f"the answer was {error!r}"))
        else:
            answer.set_exception(error)
    except BaseException as error:
        answer.set_exception(ActorFailed(f"the answer was {error!r}"))
