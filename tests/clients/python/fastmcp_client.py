"""fastmcp's client, unmodified."""

import asyncio
from contextlib import asynccontextmanager

from fastmcp import Client
from fastmcp.client.auth.client_credentials import ClientCredentialsOAuthProvider, PrivateKeyJWTOAuthProvider
from mcp.client.auth.extensions.client_credentials import SignedJWTParameters

import driver


def provider(order):
    client_id, scopes = order["client_id"], (order.get("scope") or "").split() or None
    match order["flow"]:
        case "client_secret_basic" | "client_secret_post" as method:
            return ClientCredentialsOAuthProvider(
                client_id=client_id,
                client_secret=order["client_secret"],
                scopes=scopes,
                token_endpoint_auth_method=method,
            )
        case "private_key_jwt":
            signed = SignedJWTParameters(
                issuer=client_id,
                subject=client_id,
                signing_key=order["private_key"],
                signing_algorithm=order["algorithm"],
            )
            return PrivateKeyJWTOAuthProvider(
                client_id=client_id, assertion_provider=signed.create_assertion_provider(), scopes=scopes
            )
        case flow:
            raise ValueError(f"no flow {flow}")


@asynccontextmanager
async def opened(order):
    mode = "legacy" if order["era"] == "legacy" else "auto"
    async with Client(order["url"], auth=provider(order), mode=mode) as client:
        yield client, {"protocol": client.protocol_version}


async def list_tools(client):
    return [tool.name for tool in await client.list_tools()]


async def call_tool(client, name, arguments):
    return await client.call_tool(name, arguments)


asyncio.run(driver.serve(opened, list_tools, call_tool, ["fastmcp", "mcp"]))
