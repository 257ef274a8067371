"""The last `mcp` of the 1.x line, unmodified."""

import asyncio
from contextlib import asynccontextmanager

import httpx
from mcp import ClientSession
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client

import driver


def provider(order):
    url, storage, client_id = order["url"], driver.Storage(), order["client_id"]
    match order["flow"]:
        case "client_secret_basic" | "client_secret_post" as method:
            return ClientCredentialsOAuthProvider(
                url, storage, client_id, order["client_secret"], method, order.get("scope")
            )
        case "private_key_jwt":
            signed = SignedJWTParameters(
                issuer=client_id,
                subject=client_id,
                signing_key=order["private_key"],
                signing_algorithm=order["algorithm"],
            )
            return PrivateKeyJWTOAuthProvider(
                url, storage, client_id, signed.create_assertion_provider(), order.get("scope")
            )
        case flow:
            raise ValueError(f"no flow {flow}")


@asynccontextmanager
async def opened(order):
    async with httpx.AsyncClient(auth=provider(order), timeout=20) as http:
        async with streamable_http_client(order["url"], http_client=http) as (read, write, _):
            async with ClientSession(read, write) as session:
                greeting = await session.initialize()
                yield session, {"protocol": greeting.protocolVersion}


async def list_tools(session):
    return [tool.name for tool in (await session.list_tools()).tools]


async def call_tool(session, name, arguments):
    return await session.call_tool(name, arguments)


asyncio.run(driver.serve(opened, list_tools, call_tool, ["mcp"]))
