// `@modelcontextprotocol/sdk` of the 1.x line, unmodified.

import { ClientCredentialsProvider, PrivateKeyJwtProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { serve } from './driver.mjs';

function provider(order) {
    const settings = { clientId: order.client_id, scope: order.scope, expectedIssuer: order.issuer };
    switch (order.flow) {
        case 'client_secret_basic':
            return new ClientCredentialsProvider({ ...settings, clientSecret: order.client_secret });
        case 'private_key_jwt':
            return new PrivateKeyJwtProvider({
                ...settings,
                privateKey: order.private_key,
                algorithm: order.algorithm,
            });
        default:
            throw new Error(`no flow ${order.flow}`);
    }
}

async function open(order) {
    const transport = new StreamableHTTPClientTransport(new URL(order.url), { authProvider: provider(order) });
    const client = new Client({ name: 'stock', version: '1' });
    await client.connect(transport);
    return { client, about: { protocol: transport.protocolVersion } };
}

await serve(open, ['@modelcontextprotocol/sdk']);
