//! Answers to a registry's challenge: HTTP Basic, or a bearer token from the token server that the
//! challenge names.
//!
//! The protocols are token authentication,
//! <https://distribution.github.io/distribution/spec/auth/token/>, and for identity tokens OAuth 2,
//! <https://distribution.github.io/distribution/spec/auth/oauth/>.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use tracing::{debug, info};

use super::RegistryError;
use super::challenge::{BearerChallenge, Challenge};
use super::redirect::{self, MAX_REDIRECTS, RedirectError};
use super::server::{CurrentHost, Server};
use crate::auth::{AuthMethod, Secret, null_is_default};
use crate::reference::is_loopback;

/// Limit on the response of a token server, in bytes. No server accepts a header with a token of
/// this length.
const MAX_TOKEN_RESPONSE_LEN: u64 = 256 << 10;

/// Obtains the authorization for one repository, and keeps it for the next request.
pub(super) struct Authorizer {
    client: Client,
    server: Server,
    realms: AllowedRealms,
    credentials: Option<AuthMethod>,
    current: Mutex<Option<HeaderValue>>,
    /// First challenge whose token server issued a token. Some registries later name another token
    /// server, which issues none.
    first_bearer: Mutex<Option<BearerChallenge>>,
    /// Held while a challenge is answered, so that concurrent requests share one token.
    answering: tokio::sync::Mutex<()>,
    /// Set once the registry or its token server got the credentials and refused them.
    refused: AtomicBool,
}

/// Token servers that may get credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AllowedRealms {
    /// Only servers with TLS.
    Secure,
    /// Servers with TLS, and all servers on this machine.
    SecureOrLoopback,
    /// All servers, since the user requested plain HTTP.
    Any,
}

/// A token server, with the rule for requests to it.
struct TokenServer {
    url: Url,
    /// Set if the URL must redirect to TLS, and must not issue a token itself.
    must_redirect: bool,
}

/// HTTP method of a request to a token server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Sends credentials, if any, in HTTP Basic (token authentication).
    Get,
    /// Sends an identity token in a form (OAuth 2).
    Post,
}

/// Response of a token server. It has one of the two tokens, or both with the same value.
#[derive(Deserialize)]
struct TokenResponse {
    #[serde(default, deserialize_with = "null_is_default")]
    token: String,
    #[serde(default, deserialize_with = "null_is_default")]
    access_token: String,
    /// Lifetime in seconds, as a number.
    #[serde(default)]
    expires_in: Value,
}

impl Authorizer {
    pub(super) fn new(client: Client, server: Server, realms: AllowedRealms, credentials: Option<AuthMethod>) -> Self {
        Self {
            client,
            server,
            realms,
            credentials,
            current: Mutex::default(),
            first_bearer: Mutex::default(),
            answering: tokio::sync::Mutex::default(),
            refused: AtomicBool::new(false),
        }
    }

    /// Returns the `Authorization` that was obtained last.
    pub(super) fn current(&self) -> Option<HeaderValue> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether the server to which the credentials were sent has refused them.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Records that a server refused the credentials that were sent to it.
    pub(super) fn record_refusal(&self) {
        if self.credentials.is_some() {
            self.refused.store(true, Ordering::Relaxed);
        }
    }

    /// Drops the `Authorization`, which is no longer accepted.
    pub(super) fn clear_current(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns whether a challenge names scopes of other repositories, which are requested only
    /// with `all_scopes`.
    pub(super) fn has_other_scopes(&self, challenge: &Challenge) -> bool {
        match challenge {
            Challenge::Bearer(BearerChallenge { scope, .. }) => self.scopes(scope, true) != self.scopes(scope, false),
            _ => false,
        }
    }

    /// Returns the `Authorization` for a challenge, and keeps it. `used` is the `Authorization` of
    /// the request that was challenged. With `all_scopes`, the scopes of other repositories are
    /// requested too.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoChallenge`] for an unsupported challenge, [`RegistryError::Unauthorized`]
    /// without the credentials for it, and the errors of a token server.
    pub(super) async fn answer_challenge(
        &self,
        challenge: &Challenge,
        used: Option<&HeaderValue>,
        all_scopes: bool,
        current_host: &CurrentHost,
    ) -> Result<HeaderValue, RegistryError> {
        // A request that waits for the token of another request depends on the same token server,
        // which is at fault for a timeout.
        if let Challenge::Bearer(bearer) = challenge
            && let Ok(server) = self.token_server(&bearer.realm)
        {
            current_host.set(&server.url);
        }
        let _answering = self.answering.lock().await;
        if let Some(newer) = self.current().filter(|current| Some(current) != used) {
            return Ok(newer);
        }
        self.report(challenge);
        let authorization = match challenge {
            Challenge::Unsupported(text) => return Err(self.server.no_challenge(text)),
            Challenge::Bearer(bearer) => match &self.credentials {
                Some(AuthMethod::RegistryToken(token)) => authorization_header("Bearer", token.reveal()),
                _ => Some(self.bearer_authorization(bearer, all_scopes, current_host).await?),
            },
            Challenge::Basic => self.credentials.as_ref().and_then(|credentials| {
                basic_header(
                    &credentials
                        .basic_auth()
                        .or_else(|| credentials.basic_auth_with_token())?,
                )
            }),
        };
        let authorization = authorization.ok_or_else(|| self.server.unauthorized(String::new()))?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization.clone());
        Ok(authorization)
    }

    /// Logs a challenge, and the credentials or token that answer it.
    fn report(&self, challenge: &Challenge) {
        let (scheme, answer) = match (challenge, &self.credentials) {
            (Challenge::Unsupported(_), _) => {
                debug!(registry = %self.server.name, "challenged in no way that is known here");
                return;
            }
            (Challenge::Bearer(_), None) => ("bearer", "an anonymous token"),
            (Challenge::Bearer(_), Some(AuthMethod::Basic(_))) => ("bearer", "a token for user and password"),
            (Challenge::Bearer(_), Some(AuthMethod::IdentityToken { .. })) => {
                ("bearer", "a token for the refresh token")
            }
            (Challenge::Bearer(_), Some(AuthMethod::RegistryToken(_))) => {
                ("bearer", "the registry token of the credentials")
            }
            (Challenge::Basic, None) => ("basic", "nothing, for want of credentials"),
            (Challenge::Basic, Some(_)) => ("basic", "user and password"),
        };
        if let Challenge::Bearer(BearerChallenge { realm, service, scope }) = challenge {
            let url = Url::parse(realm.trim()).ok();
            let realm = url.as_ref().map(|url| self.server.redacted_url(url).to_string());
            let (service, scope) = (service.as_deref().unwrap_or_default(), self.server.redact(scope));
            debug!(realm, service = self.server.redact(service), scope, "challenged");
        }
        let file = self
            .server
            .credentials
            .as_deref()
            .filter(|_| self.credentials.is_some());
        let file = file.filter(|file| !file.as_os_str().is_empty());
        let file = file.map(|file| tracing::field::display(file.display()));
        info!(registry = %self.server.name, scheme, with = answer, file, "answers the challenge");
    }

    /// Obtains a token from the token server of a challenge. If that fails, tries the first token
    /// server that issued one.
    async fn bearer_authorization(
        &self,
        bearer: &BearerChallenge,
        all_scopes: bool,
        current_host: &CurrentHost,
    ) -> Result<HeaderValue, RegistryError> {
        let first = self.first_bearer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let error = match self.fetch_token(bearer, all_scopes, current_host).await {
            Ok(token) => {
                let mut kept = self.first_bearer.lock().unwrap_or_else(PoisonError::into_inner);
                kept.get_or_insert_with(|| bearer.clone());
                return Ok(token);
            }
            Err(error) => error,
        };
        match first.filter(|first| first.realm != bearer.realm) {
            // The error shown is that of the token server which the registry named last.
            Some(first) => self
                .fetch_token(&first, all_scopes, current_host)
                .await
                .map_err(|_| error),
            None => Err(error),
        }
    }

    /// Requests a token from the token server of a challenge, and returns the `Authorization` with
    /// it.
    async fn fetch_token(
        &self,
        bearer: &BearerChallenge,
        all_scopes: bool,
        current_host: &CurrentHost,
    ) -> Result<HeaderValue, RegistryError> {
        let server = self.token_server(&bearer.realm)?;
        let mut parameters: Vec<_> = self
            .scopes(&bearer.scope, all_scopes)
            .into_iter()
            .map(|scope| ("scope", scope))
            .collect();
        parameters.extend(bearer.service.clone().map(|service| ("service", service)));
        let method = match &self.credentials {
            Some(AuthMethod::IdentityToken { .. }) => Method::Post,
            _ => Method::Get,
        };
        let mut response = self.request_token(&server, method, &parameters, current_host).await?;
        // Some servers support only GET, and refuse POST with different statuses.
        if method == Method::Post && is_wrong_method(response.status()) {
            response = self
                .request_token(&server, Method::Get, &parameters, current_host)
                .await?;
        }
        let responder = self.server.at(response.url());
        match response.status() {
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST) => {
                let was_sent = !server.must_redirect && response.url().origin() == server.url.origin();
                if was_sent && status != StatusCode::BAD_REQUEST {
                    self.record_refusal();
                }
                return Err(self.server.unauthorized(responder.read_problem(response).await));
            }
            _ => return Err(responder.status_error(response).await),
        }
        let body = responder.read_document(&mut response, MAX_TOKEN_RESPONSE_LEN).await?;
        let no_token = || self.no_token(&bearer.realm);
        let tokens: TokenResponse = serde_json::from_slice(&body).map_err(|_| no_token())?;
        let token = [tokens.token, tokens.access_token]
            .into_iter()
            .find(|token| !token.is_empty())
            .ok_or_else(no_token)?;
        self.server.sent.add(Secret::new(token.clone()));
        let url = self.server.redacted_url(&server.url);
        debug!(realm = %url, expires_in_s = tokens.expires_in.as_u64(), "got a token");
        authorization_header("Bearer", &token).ok_or_else(no_token)
    }

    /// Returns the scopes to request: those of the challenge, if the repository is among them.
    ///
    /// Some registries omit the repository's own scope, or name another repository. Then the
    /// repository's own scope comes first, and scopes of other repositories are included only with
    /// `all`.
    fn scopes(&self, challenge: &str, all: bool) -> Vec<String> {
        let repository = &self.server.repository;
        let requested: Vec<_> = challenge.split_whitespace().map(str::to_owned).collect();
        if repository.is_empty() {
            return requested;
        }
        let own = format!("repository:{repository}:");
        if requested.iter().any(|scope| scope.starts_with(&own)) {
            return requested;
        }
        let requested = requested
            .into_iter()
            .filter(|scope| all || !scope.starts_with("repository:"));
        std::iter::once(own + "pull").chain(requested).collect()
    }

    /// Sends a request to a token server, and follows its redirects. Sends the credentials only
    /// within its origin.
    async fn request_token(
        &self,
        server: &TokenServer,
        mut method: Method,
        parameters: &[(&str, String)],
        current_host: &CurrentHost,
    ) -> Result<Response, RegistryError> {
        let mut url = server.url.clone();
        let origin = url.origin();
        let mut credentials = self.credentials.as_ref().filter(|_| !server.must_redirect);
        if method == Method::Get {
            let parameters = parameters.iter().map(|(name, value)| (name, value));
            url.query_pairs_mut().extend_pairs(parameters);
        }
        for redirects in 0..=MAX_REDIRECTS {
            current_host.set(&url);
            // Once dropped at another origin, they are not sent again, even back at the first one.
            credentials = credentials.filter(|_| url.origin() == origin);
            let request = if method == Method::Post
                && let Some(AuthMethod::IdentityToken { token, .. }) = credentials
            {
                let mut form = parameters.to_vec();
                form.push(("grant_type", "refresh_token".to_owned()));
                form.push(("client_id", "microagent".to_owned()));
                form.push(("refresh_token", token.reveal().to_owned()));
                self.client.post(url.clone()).form(&form)
            } else {
                let pair = credentials.and_then(AuthMethod::basic_auth_with_token);
                let basic = pair.as_ref().and_then(basic_header).map(|value| (AUTHORIZATION, value));
                self.client.get(url.clone()).headers(HeaderMap::from_iter(basic))
            };
            let responder = self.server.at(&url);
            let response = responder.send(request).await?;
            let next = redirect::location(&response).map_err(|why| responder.redirect_error(why))?;
            let is_see_other = response.status() == StatusCode::SEE_OTHER;
            let status = response.status().as_u16();
            let is_insecure = |url: &Url| server.must_redirect && url.scheme() != "https";
            match next {
                None if server.must_redirect && redirects == 0 => {
                    return Err(self.insecure_realm(server.url.as_str()));
                }
                None => return Ok(response),
                Some(next) if is_insecure(&next) => return Err(self.insecure_realm(server.url.as_str())),
                // Following it would send the form, with the identity token, to another server.
                Some(next) if method == Method::Post && next.origin() != origin => {
                    return Err(responder.redirect_error(RedirectError::OtherOrigin));
                }
                Some(next) => {
                    let (from, to) = (self.server.redacted_url(&url), self.server.redacted_url(&next));
                    debug!(%from, %to, status, "redirected");
                    url = next;
                }
            }
            if is_see_other {
                method = Method::Get;
            }
        }
        let why = RedirectError::TooMany { max: MAX_REDIRECTS };
        Err(self.server.at(&url).redirect_error(why))
    }

    /// Returns the error of a response without a token.
    fn no_token(&self, realm: &str) -> RegistryError {
        let realm = self.redact_realm(realm);
        RegistryError::NoToken { realm }
    }

    /// Returns the error of a realm to which credentials would be sent unencrypted.
    fn insecure_realm(&self, realm: &str) -> RegistryError {
        RegistryError::InsecureRealm {
            registry: self.server.name.clone(),
            realm: self.redact_realm(realm),
        }
    }

    /// Returns the token server of a realm. A user and a password in its URL are removed, since the
    /// client would send them.
    ///
    /// # Errors
    ///
    /// [`RegistryError::InsecureRealm`] for a realm without TLS, unless [`AllowedRealms`] allows
    /// it. Without credentials, such a realm is accepted, but must redirect to TLS.
    fn token_server(&self, realm: &str) -> Result<TokenServer, RegistryError> {
        let url = Url::parse(realm.trim()).ok().and_then(without_user);
        let url = url.ok_or_else(|| self.insecure_realm(realm))?;
        let must_redirect = match (url.scheme(), self.realms) {
            ("https", _) | ("http", AllowedRealms::Any) => false,
            ("http", AllowedRealms::SecureOrLoopback) if url.host_str().is_some_and(is_loopback) => false,
            ("http", _) if self.credentials.is_none() => true,
            _ => return Err(self.insecure_realm(realm)),
        };
        Ok(TokenServer { url, must_redirect })
    }

    /// Returns the part of a realm that can be shown.
    fn redact_realm(&self, realm: &str) -> String {
        let url = Url::parse(realm).ok().and_then(without_user).map(String::from);
        // In a text that is not a URL, everything before an @ may be a password.
        let text = url.unwrap_or_else(|| realm.rsplit('@').next().unwrap_or_default().to_owned());
        self.server.sent.redact(&text).chars().take(200).collect()
    }
}

/// Returns whether a status may mean that a token server does not support POST, or an identity
/// token in it, so that GET is tried.
fn is_wrong_method(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::NOT_IMPLEMENTED
    )
}

/// Returns a URL without user and password, which the user did not give; `None` for a URL of a kind
/// that cannot have them.
fn without_user(mut url: Url) -> Option<Url> {
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

/// Returns the `Authorization` for HTTP Basic. `pair` is `user:password` in base64.
fn basic_header(pair: &Secret) -> Option<HeaderValue> {
    authorization_header("Basic", pair.reveal())
}

/// Returns an `Authorization` header; `None` if the secret cannot stand in a header.
fn authorization_header(scheme: &str, secret: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {secret}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::proxies::Proxies;
    use crate::registry::secrets::SentSecrets;
    use crate::registry::tls::unverified_config;

    fn authorizer(realms: AllowedRealms, credentials: Option<AuthMethod>) -> Authorizer {
        let server = Server {
            name: "r".to_owned(),
            referrer: None,
            base: Url::parse("https://r/v2/a").unwrap(),
            repository: "a".to_owned(),
            credentials: None,
            helper: None,
            proxies: Proxies::default(),
            sent: SentSecrets::default(),
        };
        let client = Client::builder().tls_backend_preconfigured(unverified_config()).build();
        Authorizer::new(client.unwrap(), server, realms, credentials)
    }

    #[test]
    fn token_that_cannot_stand_in_a_header_is_refused() {
        assert!(authorization_header("Bearer", "a\r\nX-Other: b").is_none());
        let value = authorization_header("Bearer", "secret").unwrap();
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    #[test]
    fn realms_need_tls_or_this_machine() {
        let realm = |realms, realm: &str| {
            let credentials = AuthMethod::basic("someone", &Secret::new("secret".to_owned()));
            authorizer(realms, Some(credentials)).token_server(realm).is_ok()
        };
        assert!(realm(AllowedRealms::Secure, "https://auth.example/token?x=y"));
        assert!(!realm(AllowedRealms::Secure, "http://auth.example/token"));
        assert!(!realm(AllowedRealms::Secure, "http://127.0.0.1/token"));
        assert!(!realm(AllowedRealms::SecureOrLoopback, "http://auth.example/token"));
        assert!(realm(AllowedRealms::SecureOrLoopback, "http://127.0.0.1:5001/token"));
        assert!(realm(AllowedRealms::SecureOrLoopback, "http://[::1]:5001/token"));
        assert!(!realm(AllowedRealms::SecureOrLoopback, "/token"));
        assert!(!realm(AllowedRealms::SecureOrLoopback, "file:///token"));
        assert!(realm(AllowedRealms::Any, "http://auth.example/token"));
        assert!(!realm(AllowedRealms::Any, "file:///token"));
        // Without credentials, only the token is secret, and must come over TLS.
        let server = authorizer(AllowedRealms::Secure, None);
        assert!(server.token_server("http://auth.example/token").unwrap().must_redirect);
        assert!(!server.token_server("https://auth.example/token").unwrap().must_redirect);
        assert!(server.token_server("ftp://auth.example/token").is_err());
    }

    #[test]
    fn scopes_include_the_repository() {
        let authorizer = authorizer(AllowedRealms::Secure, None);
        let own = "repository:a:pull";
        for (challenge, expected) in [
            ("", &[own][..]),
            (own, &[own]),
            ("repository:a:pull,push", &["repository:a:pull,push"]),
            ("repository:ab:pull", &[own]),
            ("aws", &[own, "aws"]),
            ("repository:other:pull registry:catalog:*", &[own, "registry:catalog:*"]),
        ] {
            assert_eq!(authorizer.scopes(challenge, false), expected, "{challenge}");
        }
        assert_eq!(
            authorizer.scopes("repository:other:pull", true),
            [own, "repository:other:pull"]
        );
    }
}
