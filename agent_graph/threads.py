"""Daemon threads of our own, and one background event loop.

A node or a saver call never runs on an event loop's default executor: it is small (cpu + 4 threads) and shared with whatever else the
host runs, so that nine slow runs would hold up a tenth; and its threads are joined at exit, so that a hung tool would hang the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def start(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Run the function on a new daemon thread, in a copy of the caller's context."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # whoever awaits it may be cancelled; the work is not, and its result must still find a place
    context = contextvars.copy_context()

    def work() -> None:
        try:
            result = context.run(function, *args, **kwargs)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, name=f"agent-graph {getattr(function, '__name__', 'work')}", daemon=True).start()
    return future


async def on_own_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await the function, run on a daemon thread of its own. Bound to no event loop."""
    return await asyncio.wrap_future(start(function, *args, **kwargs))


class BackgroundLoop:
    """One event loop on one daemon thread, for async tools under a synchronous caller."""

    _lock = threading.Lock()
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    @classmethod
    def get(cls) -> asyncio.AbstractEventLoop:
        with cls._lock:
            if cls._loop is None or cls._loop.is_closed() or cls._thread is None or not cls._thread.is_alive():
                cls._loop = asyncio.new_event_loop()
                cls._thread = threading.Thread(target=cls._loop.run_forever, name="agent-graph loop", daemon=True)
                cls._thread.start()
            return cls._loop

    @classmethod
    def is_here(cls) -> bool:
        """Whether the caller runs on the background loop, where waiting for an async tool would wait for ever."""
        return threading.current_thread() is cls._thread


def run_coroutine(coroutine: Any, loop: asyncio.AbstractEventLoop | None) -> Future[Any]:
    """Schedule on the caller's loop when there is one, else on the background loop."""
    return asyncio.run_coroutine_threadsafe(_contained(coroutine), loop or BackgroundLoop.get())


async def _contained(coroutine: Any) -> Any:
    """SystemExit and KeyboardInterrupt would end the loop, and with it whatever else runs there."""
    try:
        return await coroutine
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
