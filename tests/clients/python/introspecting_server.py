"""An MCP server on fastmcp that asks the broker about every token, with fastmcp's own verifier, unmodified.

Says where it listens, is told the broker's issuer and how to ask it, and serves until its stdin ends.
"""

import asyncio
import json
import socket
import sys
import threading

import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth import RemoteAuthProvider
from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    print(json.dumps({"origin": origin}), flush=True)
    told = json.loads(sys.stdin.readline())
    verifier = IntrospectionTokenVerifier(
        introspection_url=told["introspection_endpoint"],
        client_id=told["client_id"],
        client_secret=told["client_secret"],
        client_auth_method=told["client_auth_method"],
        audience=f"{origin}/mcp",
        required_scopes=told["required_scopes"],
    )
    auth = RemoteAuthProvider(
        token_verifier=verifier, authorization_servers=[told["issuer"]], base_url=origin
    )
    server = FastMCP("notes", auth=auth)

    @server.tool
    def read_note(name: str) -> str:
        """Read a note."""
        return f"the note {name}"

    # The socket listens already: what comes before the server runs waits there.
    print(json.dumps({"ok": "serving"}), flush=True)
    running = uvicorn.Server(uvicorn.Config(server.http_app(path="/mcp"), log_level="warning"))

    def until_told_to_stop():
        sys.stdin.read()
        running.should_exit = True

    threading.Thread(target=until_told_to_stop, daemon=True).start()
    asyncio.run(running.serve(sockets=[listener]))


main()
