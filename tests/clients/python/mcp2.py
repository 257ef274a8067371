"""`mcp` 2.x, unmodified."""

import asyncio
from contextlib import asynccontextmanager

import httpx2
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

import driver


def provider(order):
    url, storage, client_id = order["url"], driver.Storage(), order["client_id"]
    settings = {"scope": order.get("scope"), "issuer": order.get("issuer")}
    match order["flow"]:
        case "client_secret_basic" | "client_secret_post" as method:
            return ClientCredentialsOAuthProvider(
                url, storage, client_id, order["client_secret"], token_endpoint_auth_method=method, **settings
            )
        case "private_key_jwt":
            signed = SignedJWTParameters(
                issuer=client_id,
                subject=client_id,
                signing_key=order["private_key"],
                signing_algorithm=order["algorithm"],
            )
            return PrivateKeyJWTOAuthProvider(
                url, storage, client_id, signed.create_assertion_provider(), **settings
            )
        case "id_jag":
            return IdentityAssertionOAuthProvider(
                url,
                storage,
                client_id,
                order["client_secret"],
                order["issuer"],
                lambda audience, resource: id_jag(order, audience, resource),
                scope=order.get("scope"),
            )
        case flow:
            raise ValueError(f"no flow {flow}")


async def id_jag(order, audience, resource):
    """What an enterprise's identity provider gives for a person's ID token (RFC 8693)."""
    idp = order["idp"]
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requested_token_type": "urn:ietf:params:oauth:token-type:id-jag",
        "subject_token": idp["id_token"],
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "audience": audience,
        "resource": resource,
        "client_id": idp["client_id"],
        "client_secret": idp["client_secret"],
    }
    if order.get("scope"):
        form["scope"] = order["scope"]
    async with httpx2.AsyncClient(timeout=20) as http:
        response = await http.post(idp["token_endpoint"], data=form)
        response.raise_for_status()
        return response.json()["access_token"]


@asynccontextmanager
async def opened(order):
    async with httpx2.AsyncClient(auth=provider(order), timeout=20) as http:
        transport = streamable_http_client(order["url"], http_client=http)
        async with Client(transport, mode="legacy" if order["era"] == "legacy" else "auto") as client:
            yield client, {"protocol": client.protocol_version}


async def list_tools(client):
    return [tool.name for tool in (await client.list_tools()).tools]


async def call_tool(client, name, arguments):
    return await client.call_tool(name, arguments)


asyncio.run(driver.serve(opened, list_tools, call_tool, ["mcp"]))
