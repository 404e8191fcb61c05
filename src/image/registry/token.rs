//! The answer to a registry's challenge: HTTP Basic, or a token from the server that the challenge names.
//!
//! <https://distribution.github.io/distribution/spec/auth/token/>, and for identity tokens `oauth/` beside it.

use std::sync::{Mutex, PoisonError};

use http_auth::ChallengeRef;
use http_auth::parser::ChallengeParser;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::RegistryError;
use super::server::{Asked, Server};
use crate::image::auth::{Credentials, Secret};
use crate::image::manifest::null_is_default;
use crate::image::reference::is_loopback;

/// Limit on the answer of a token server in bytes. No server takes a header with a token of this
/// length.
const MAX_TOKENS_LEN: u64 = 256 << 10;

/// Gets authorisation for one repository, and keeps it for the next request.
pub(super) struct Authorizer {
    client: Client,
    server: Server,
    realms: Realms,
    credentials: Option<Credentials>,
    current: Mutex<Option<HeaderValue>>,
    /// Held while a challenge is answered, so that requests at the same time get one token between them.
    answering: tokio::sync::Mutex<()>,
}

/// Which token servers get credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Realms {
    /// Those that speak TLS.
    Secure,
    /// Those on this machine too.
    SecureOrLoopback,
    /// Those that speak plain HTTP too, as the user wanted.
    Any,
}

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// What a token server answers: one of the two, and it is the same.
#[derive(Deserialize)]
struct Tokens {
    #[serde(default, deserialize_with = "null_is_default")]
    token: String,
    #[serde(default, deserialize_with = "null_is_default")]
    access_token: String,
}

impl Authorizer {
    pub(super) fn new(client: Client, server: Server, realms: Realms, credentials: Option<Credentials>) -> Self {
        Self {
            client,
            server,
            realms,
            credentials,
            current: Mutex::default(),
            answering: tokio::sync::Mutex::default(),
        }
    }

    /// The `Authorization` that was good last time.
    pub(super) fn current(&self) -> Option<HeaderValue> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The `Authorization` that the challenge in these headers of a 401 asks for, which came in answer to `used`.
    pub(super) async fn answer(
        &self,
        headers: &HeaderMap,
        used: Option<&HeaderValue>,
        asked: &Asked,
    ) -> Result<HeaderValue, RegistryError> {
        let challenge = Challenge::find(headers);
        // Who waits for the token that another request asks for waits for the same server.
        if let Some(Challenge::Bearer { realm, .. }) = &challenge {
            asked.set(&self.realm(realm)?);
        }
        let _answering = self.answering.lock().await;
        if let Some(newer) = self.current().filter(|current| Some(current) != used) {
            return Ok(newer);
        }
        let authorization = match (challenge, &self.credentials) {
            (Some(Challenge::Bearer { .. }), Some(Credentials::RegistryToken(token))) => {
                header("Bearer", token.reveal()).ok_or_else(|| self.server.unauthorized(String::new()))?
            }
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                let token = self.token(&realm, service, scope).await?;
                header("Bearer", &token).ok_or_else(|| self.no_token(&realm))?
            }
            (
                Some(Challenge::Basic),
                Some(Credentials::Basic(pair) | Credentials::IdentityToken { pair: Some(pair), .. }),
            ) => basic(pair.reveal()),
            _ => return Err(self.server.unauthorized(String::new())),
        };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization.clone());
        Ok(authorization)
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
    ) -> Result<String, RegistryError> {
        let mut url = self.realm(realm)?;
        let server = self.server.at(&url);
        let repository = Some(&self.server.repository).filter(|repository| !repository.is_empty());
        let scope = scope.or_else(|| repository.map(|repository| format!("repository:{repository}:pull")));
        let mut parameters: Vec<_> = scope.map(|scope| ("scope", scope)).into_iter().collect();
        parameters.extend(service.map(|service| ("service", service)));
        let request = if let Some(Credentials::IdentityToken { token, .. }) = &self.credentials {
            parameters.push(("grant_type", "refresh_token".to_owned()));
            parameters.push(("client_id", "microagent".to_owned()));
            parameters.push(("refresh_token", token.reveal().to_owned()));
            self.client.post(url).form(&parameters)
        } else {
            url.query_pairs_mut().extend_pairs(parameters);
            let request = self.client.get(url);
            match &self.credentials {
                Some(Credentials::Basic(pair)) => request.header(AUTHORIZATION, basic(pair.reveal())),
                _ => request,
            }
        };
        let mut response = server.send(request).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                return Err(self.server.unauthorized(server.problem(response).await));
            }
            _ => return Err(server.refusal(response).await),
        }
        let body = server.body(&mut response, MAX_TOKENS_LEN).await?;
        let tokens: Tokens = serde_json::from_slice(&body).map_err(|_| self.no_token(realm))?;
        let token = [tokens.token, tokens.access_token]
            .into_iter()
            .find(|token| !token.is_empty())
            .ok_or_else(|| self.no_token(realm))?;
        self.server.sent.add(Secret::new(token.clone()));
        Ok(token)
    }

    fn no_token(&self, realm: &str) -> RegistryError {
        let realm = self.shown(realm);
        RegistryError::NoToken { realm }
    }

    /// Returns the URL of the token server, without user and password, which the client would send.
    ///
    /// # Errors
    ///
    /// [`RegistryError::InsecureRealm`] if it does not speak TLS, unless all happens on this
    /// machine.
    fn realm(&self, realm: &str) -> Result<Url, RegistryError> {
        let is_secure = |url: &Url| match url.scheme() {
            "https" => true,
            "http" => match self.realms {
                Realms::Secure => false,
                Realms::SecureOrLoopback => url.host_str().is_some_and(is_loopback),
                Realms::Any => true,
            },
            _ => false,
        };
        let url = Url::parse(realm).ok().filter(is_secure);
        url.and_then(without_user).ok_or_else(|| RegistryError::InsecureRealm {
            registry: self.server.name.clone(),
            realm: self.shown(realm),
        })
    }

    /// Returns as much of a realm as can be shown.
    fn shown(&self, realm: &str) -> String {
        let url = Url::parse(realm).ok().and_then(without_user).map(String::from);
        // What stands before an @ may be a password, wherever it is no URL that says so.
        let text = url.unwrap_or_else(|| realm.rsplit('@').next().unwrap_or_default().to_owned());
        self.server.sent.shown(&text).chars().take(200).collect()
    }
}

/// Returns a URL without user and password: nobody gave them to be sent. `None` if it is not one
/// that can have them.
fn without_user(mut url: Url) -> Option<Url> {
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

impl Challenge {
    /// The challenge that can be answered best.
    fn find(headers: &HeaderMap) -> Option<Self> {
        let texts = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let challenges: Vec<_> = texts
            .flat_map(|text| ChallengeParser::new(text).map_while(Result::ok))
            .collect();
        let mut bearer = challenges
            .iter()
            .filter(|challenge| challenge.scheme.eq_ignore_ascii_case("Bearer"));
        let basic = || {
            challenges
                .iter()
                .find(|challenge| challenge.scheme.eq_ignore_ascii_case("Basic"))
        };
        bearer.find_map(Self::bearer).or_else(|| basic().map(|_| Self::Basic))
    }

    fn bearer(challenge: &ChallengeRef<'_>) -> Option<Self> {
        let parameter = |wanted: &str| {
            let mut parameters = challenge.params.iter();
            parameters
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.to_unescaped())
        };
        Some(Self::Bearer {
            realm: parameter("realm")?,
            service: parameter("service"),
            scope: parameter("scope"),
        })
    }
}

fn basic(pair: &str) -> HeaderValue {
    header("Basic", pair).expect("base64 can stand in a header")
}

fn header(scheme: &str, secret: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {secret}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::registry::client::install_provider;
    use crate::image::registry::proxies::Proxies;
    use crate::image::registry::secrets::SentSecrets;

    fn challenge(values: &[&'static str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        Challenge::find(&headers)
    }

    #[test]
    fn challenges_of_real_registries_are_understood() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        let hub =
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#;
        let expected = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:a/b:pull"),
        );
        assert_eq!(challenge(&[hub]), expected);
        assert_eq!(challenge(&["Basic realm=\"x\"", hub]), expected);
        assert_eq!(
            challenge(&[r#"bearer Realm="https://x/t""#]),
            bearer("https://x/t", None, None)
        );
        assert_eq!(challenge(&["Basic realm=\"Registry Realm\""]), Some(Challenge::Basic));
        assert_eq!(challenge(&["Bearer service=\"no realm\""]), None);
        for odd in ["", "Negotiate", "Digest realm=\"x\"", ",,,", "Bearer realm=\"x", "\"\\"] {
            assert_eq!(challenge(&[odd]), None, "{odd}");
        }
    }

    #[test]
    fn a_token_that_cannot_stand_in_a_header_is_none() {
        assert!(header("Bearer", "a\r\nX-Other: b").is_none());
        let value = header("Bearer", "secret").unwrap();
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    #[test]
    fn tokens_are_fetched_over_tls_or_on_this_machine_only() {
        install_provider();
        let realm = |realms, realm: &str| {
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
            Authorizer::new(Client::new(), server, realms, None)
                .realm(realm)
                .is_ok()
        };
        assert!(realm(Realms::Secure, "https://auth.example/token?x=y"));
        assert!(!realm(Realms::Secure, "http://auth.example/token"));
        assert!(!realm(Realms::Secure, "http://127.0.0.1/token"));
        assert!(!realm(Realms::SecureOrLoopback, "http://auth.example/token"));
        assert!(realm(Realms::SecureOrLoopback, "http://127.0.0.1:5001/token"));
        assert!(realm(Realms::SecureOrLoopback, "http://[::1]:5001/token"));
        assert!(!realm(Realms::SecureOrLoopback, "/token"));
        assert!(!realm(Realms::SecureOrLoopback, "file:///token"));
        assert!(realm(Realms::Any, "http://auth.example/token"));
        assert!(!realm(Realms::Any, "file:///token"));
    }
}
