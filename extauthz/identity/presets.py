"""How access tokens of common identity providers look, as data; an Issuer document can override every field.

Rule 1: a preset never names an issuer, key or audience: those are the deployment's.
Rule 2: a preset that accepts the type `JWT` or none names a `kind`, for ID tokens have that type too (JWT-16).
"""

from msgspec import Struct

from extauthz.identity.document import ClaimsSpec, KindSpec


class Preset(Struct, frozen=True, kw_only=True):
    """What an Issuer document leaves out."""

    algorithms: tuple[str, ...]
    types: tuple[str, ...]
    claims: ClaimsSpec
    kind: KindSpec | None = None
    audience_claim: str = "aud"
    require_claims: tuple[str, ...] = ("sub", "iat")
    issuer_pattern: str = r"https?://.+"
    issuer_hint: str = ""  # what the pattern means, in words


STANDARD_CLAIMS = ClaimsSpec(
    subject="sub",
    client="client_id",
    tenant="",
    tenant_optional=False,
    roles="",
    scopes="scope",
    acr="acr",
    acrs="",
    auth_time="auth_time",
    token_id="jti",  # noqa: S106 - the name of a claim
    session="sid",
)

PRESETS = {
    "rfc9068": Preset(
        algorithms=("PS256", "ES256", "EdDSA", "Ed25519", "RS256"),  # section 2.1 makes RS256 the common ground
        types=("at+jwt",),
        claims=ClaimsSpec(roles=["roles", "groups", "entitlements"]),  # section 2.2.3.1
        require_claims=("sub", "client_id", "iat", "jti"),  # section 2.2
    ),
    # `typ` at+jwt only when the client attribute for it is set (26.2 and later); payload `typ` tells access
    # tokens from ID, Refresh and Offline.
    "keycloak": Preset(
        algorithms=("RS256", "PS256", "ES256", "EdDSA"),
        types=("JWT", "at+jwt"),
        kind=KindSpec(claim="typ", any_of=["Bearer", "DPoP"]),
        claims=ClaimsSpec(
            client=["azp", "client_id"],
            tenant="organization",
            tenant_optional=True,  # only tokens of scope `organization` have it
            roles=["realm_access.roles"],
            session=["sid", "session_state"],  # the latter before version 25
        ),
        issuer_pattern=r".+/realms/[^/]+",
        issuer_hint="ends with `/realms/<realm>`",
    ),
    # Access tokens name their client, `azp` or in the RFC 9068 profile `client_id`; an ID token's audience is a client,
    # never an API.
    "auth0": Preset(
        algorithms=("RS256", "PS256"),
        types=("JWT", "at+jwt"),
        kind=KindSpec(claim=["azp", "client_id"]),
        claims=ClaimsSpec(
            client=["azp", "client_id"],
            tenant="org_id",
            tenant_optional=True,  # only tokens of an organisation's login have it
            roles=["permissions"],
        ),
        issuer_pattern=r".+/",
        issuer_hint="ends with a slash",
    ),
    # Custom authorization servers; `sub` is the login name, `uid` the stable id, and client credentials have no uid.
    "okta": Preset(
        algorithms=("RS256",),
        types=("absent", "JWT", "at+jwt"),
        kind=KindSpec(claim="jti", prefix="AT."),
        claims=ClaimsSpec(subject=["uid", "sub"], client="cid", roles=["groups"], scopes="scp"),
        require_claims=("sub", "iat", "jti"),
        issuer_pattern=r".+/oauth2/[^/]+",
        issuer_hint="ends with `/oauth2/<authorization server>`; the org server's tokens are for Okta alone",
    ),
    # Access tokens v2.0 name the client `azp`, v1.0 `appid`; the vendor's list of ID token claims has neither. `oid`
    # with the tenant is the user; `sub` is another one in each application.
    "entra": Preset(
        algorithms=("RS256",),
        types=("JWT",),
        kind=KindSpec(claim=["azp", "appid"]),
        claims=ClaimsSpec(
            subject="oid",
            client=["azp", "appid"],
            tenant="tid",
            roles=["roles"],
            scopes="scp",
            acrs="acrs",
            token_id="uti",  # noqa: S106 - the name of a claim
        ),
        require_claims=("sub", "oid", "tid", "iat", "ver"),
        issuer_pattern=r"https://(login\.[^/]+/[0-9a-f-]{36}/v2\.0|sts\.windows\.net/[0-9a-f-]{36}/)",
        issuer_hint="names one tenant by its id: `https://login.microsoftonline.com/<id>/v2.0`",
    ),
    # Access tokens have no `aud`: the client id takes its place.
    "cognito": Preset(
        algorithms=("RS256",),
        types=("absent", "JWT"),
        kind=KindSpec(claim="token_use", any_of=["access"]),
        audience_claim="client_id",
        claims=ClaimsSpec(roles=[["cognito:groups"]], session="origin_jti"),  # one a refresh token
        require_claims=("sub", "client_id", "iat", "jti"),
        issuer_pattern=r"https://(issuer\.)?cognito-idp\.[a-z0-9-]+\.amazonaws\.com/.+",
        issuer_hint="is `https://cognito-idp.<region>.amazonaws.com/<pool>`",
    ),
    # Firebase has ID tokens only; what marks them is the member `firebase`, which no other Google token has.
    "firebase": Preset(
        algorithms=("RS256",),
        types=("JWT",),
        kind=KindSpec(claim="firebase.sign_in_provider"),
        claims=ClaimsSpec(
            client="",
            tenant="firebase.tenant",
            tenant_optional=True,  # only users of an Identity Platform tenant have it
            scopes="",
            token_id="",
        ),
        require_claims=("sub", "iat", "auth_time"),
        issuer_pattern=r"https://securetoken\.google\.com/[^/]+",
        issuer_hint="is `https://securetoken.google.com/<project>`",
    ),
}
