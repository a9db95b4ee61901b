// An authorization server on loopback: PAR, PKCE, authorization code and client credentials; tokens bound by DPoP or to
// the client's certificate. Logs in whoever asks as the account in `login_hint`; nobody but tests may use it.
//
//   node server.mjs CERTIFICATE KEY CLIENTS.json PORTS_FILE

import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';

import Provider from 'oidc-provider';

const [certificate, key, clientsFile, portsFile] = process.argv.slice(2);
const { clients, jwks, resource } = JSON.parse(readFileSync(clientsFile));

const server = createServer({
  cert: readFileSync(certificate),
  key: readFileSync(key),
  requestCert: true,
  rejectUnauthorized: false, // self-signed client certificates are compared with the client's registered keys
});

server.listen(0, '127.0.0.1', () => {
  const issuer = `https://localhost:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients,
    jwks,
    scopes: ['openid', 'accounts', 'payments'],
    clientAuthMethods: ['private_key_jwt', 'self_signed_tls_client_auth'],
    enabledJWA: { idTokenSigningAlgValues: ['PS256'], clientAuthSigningAlgValues: ['PS256', 'ES256'] },
    pkce: { required: () => true },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      dPoP: { enabled: true },
      introspection: { enabled: true },
      mTLS: {
        enabled: true,
        certificateBoundAccessTokens: true,
        selfSignedTlsClientAuth: true,
        getCertificate: (ctx) => {
          const peer = ctx.req.socket.getPeerCertificate(true);
          return peer?.raw ? `-----BEGIN CERTIFICATE-----\n${peer.raw.toString('base64')}\n-----END CERTIFICATE-----` : undefined;
        },
      },
      pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => resource,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: 'accounts payments',
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 300,
          jwt: { sign: { alg: 'PS256' } },
        }),
      },
    },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    extraTokenClaims: (ctx, token) => ({ tenant_id: (token.accountId ?? token.clientId).split('.')[0], acr: 'urn:test:loa3', auth_time: Math.floor(Date.now() / 1000) }),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  });

  // Whoever is asked for logs in at once and consents to everything.
  provider.use(async (ctx, next) => {
    if (!ctx.path.startsWith('/interaction/')) return next();
    const { params, session } = await provider.interactionDetails(ctx.req, ctx.res);
    const accountId = session?.accountId ?? params.login_hint;
    const grant = new provider.Grant({ accountId, clientId: params.client_id });
    grant.addOIDCScope('openid accounts payments');
    grant.addResourceScope(resource, 'accounts payments');
    const result = { login: { accountId }, consent: { grantId: await grant.save() } };
    await provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: false });
    ctx.respond = false;
  });

  server.on('request', provider.callback());
  writeFileSync(`${portsFile}.new`, String(server.address().port));
  renameSync(`${portsFile}.new`, portsFile);
});
