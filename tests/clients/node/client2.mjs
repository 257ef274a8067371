// `@modelcontextprotocol/client`, the 2.x line, unmodified.

import {
    Client,
    ClientCredentialsProvider,
    CrossAppAccessProvider,
    DpopSession,
    PrivateKeyJwtProvider,
    StreamableHTTPClientTransport,
    discoverAndRequestJwtAuthGrant,
} from '@modelcontextprotocol/client';

import { serve } from './driver.mjs';

async function provider(order) {
    const settings = { clientId: order.client_id, scope: order.scope, expectedIssuer: order.issuer };
    const secret = { ...settings, clientSecret: order.client_secret };
    switch (order.flow) {
        case 'client_secret_basic':
            return new ClientCredentialsProvider(secret);
        case 'private_key_jwt':
            return new PrivateKeyJwtProvider({
                ...settings,
                privateKey: order.private_key,
                algorithm: order.algorithm,
            });
        case 'id_jag':
            return new CrossAppAccessProvider({ ...secret, assertion: (context) => idJag(order.idp, context) });
        case 'dpop': {
            const session = await DpopSession.create();
            return Object.assign(new ClientCredentialsProvider(secret), { dpop: () => session });
        }
        default:
            throw new Error(`no flow ${order.flow}`);
    }
}

/** What an enterprise's identity provider gives for a person's ID token (RFC 8693). */
async function idJag(idp, context) {
    const granted = await discoverAndRequestJwtAuthGrant({
        idpUrl: idp.issuer,
        audience: context.authorizationServerUrl,
        resource: context.resourceUrl,
        idToken: idp.id_token,
        clientId: idp.client_id,
        clientSecret: idp.client_secret,
        scope: context.scope,
        fetchFn: context.fetchFn,
    });
    return granted.jwtAuthGrant;
}

async function open(order) {
    const authProvider = await provider(order);
    const transport = new StreamableHTTPClientTransport(new URL(order.url), { authProvider });
    const options = order.era === 'legacy' ? {} : { versionNegotiation: { mode: 'auto' } };
    const client = new Client({ name: 'stock', version: '1' }, options);
    await client.connect(transport);
    return { client, about: { protocol: transport.protocolVersion } };
}

await serve(open, ['@modelcontextprotocol/client']);
