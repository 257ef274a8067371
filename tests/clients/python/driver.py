"""Takes orders in lines of JSON and answers in lines of JSON; see `driver.rs`. The same for every Python client."""

import asyncio
import importlib.metadata
import json
import logging
import sys
import threading
import traceback
import warnings

warnings.simplefilter("ignore")
# What the packages log goes to stderr, which is shown when a test fails.
logging.basicConfig(stream=sys.stderr, level=logging.INFO)


class Storage:
    """Tokens and registrations, as long as the process lives."""

    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


def answer(**members):
    print(json.dumps(members), flush=True)


def told(error):
    """The innermost errors of groups, on one line."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(told(one) for one in error.exceptions)
    cause = error.__cause__
    text = f"{type(error).__name__}: {error}"
    return text if cause is None else f"{text} <- {told(cause)}"


def texts(result):
    text = " ".join(part.text for part in result.content if getattr(part, "text", None) is not None)
    failed = getattr(result, "is_error", None) or getattr(result, "isError", None)
    if failed:
        raise RuntimeError(text)
    return text


def orders():
    """Lines of stdin, read by a thread of their own so that a cancelled wait loses none."""
    queue = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read():
        for line in sys.stdin:
            loop.call_soon_threadsafe(queue.put_nowait, json.loads(line))
        loop.call_soon_threadsafe(queue.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    return queue


async def serve(opened, list_tools, call_tool, packages):
    """`opened(order)` is a context manager that yields a connected client and what to say of it."""
    inbox = orders()
    while (order := await inbox.get()) is not None:
        if order["do"] == "connect":
            await session(inbox, order, opened, list_tools, call_tool)
        elif order["do"] == "versions":
            answer(ok={name: importlib.metadata.version(name) for name in packages})
        else:
            answer(error="there is no session, or it has ended")


async def session(inbox, order, opened, list_tools, call_tool):
    owed = True
    try:
        async with opened(order) as (client, about):
            answer(ok=about)
            owed = False
            while True:
                order = await inbox.get()
                owed = True
                if order is None or order["do"] == "close":
                    break
                try:
                    if order["do"] == "list":
                        answer(ok=await list_tools(client))
                    else:
                        answer(ok=texts(await call_tool(client, order["tool"], order["arguments"])))
                except Exception as error:
                    traceback.print_exc()
                    answer(error=told(error))
                owed = False
        answer(ok=None)
    except Exception as error:
        traceback.print_exc()
        if owed:
            answer(error=told(error))
