//! Requests that are repeated with the authorization that a registry asks for.

use reqwest::{Response, StatusCode, Url};

use super::Http;
use crate::registry::RegistryError;
use crate::registry::challenge::Challenge;
use crate::registry::server::CurrentHost;

impl Http {
    /// Asks, and asks again with authorization if the registry wants some.
    pub(super) async fn send_authorized(
        &self,
        url: &Url,
        accept: &[&str],
        from: Option<u64>,
        current_host: &CurrentHost,
    ) -> Result<Response, RegistryError> {
        let mut used = self.authorizer.current();
        let mut response = self
            .send_following_redirects(url, accept, from, used.clone(), current_host)
            .await?;
        // Some registries want other scopes than the repository's own, and say so to a token with
        // that one.
        for other_scopes in [false, true] {
            let Some(challenge) = self
                .challenge_to_answer(&response, used.is_some(), current_host)
                .await?
            else {
                break;
            };
            if other_scopes && !self.authorizer.has_other_scopes(&challenge) {
                break;
            }
            let answer = self
                .authorizer
                .answer_challenge(&challenge, used.as_ref(), other_scopes, current_host);
            match answer.await {
                Ok(authorization) => {
                    used = Some(authorization);
                    response = self
                        .send_following_redirects(url, accept, from, used.clone(), current_host)
                        .await?;
                }
                // A public image needs no token, even if the one that there was has expired and
                // there is no other.
                Err(error) if used.is_some() => {
                    response = self
                        .send_following_redirects(url, accept, from, None, current_host)
                        .await?;
                    if response.status() == StatusCode::UNAUTHORIZED {
                        return Err(error);
                    }
                    self.authorizer.clear_current();
                    used = None;
                    break;
                }
                // Nobody asked for credentials but `/v2/`, and there are none.
                Err(RegistryError::Unauthorized { credentials: None, .. })
                    if response.status() != StatusCode::UNAUTHORIZED =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if used.is_some() && response.status() == StatusCode::UNAUTHORIZED && self.is_from_registry(&response) {
            self.authorizer.record_refusal();
        }
        Ok(response)
    }

    /// Returns the challenge that has to be answered before the request is made again, if there is
    /// one. Registries that refuse without a challenge, or deny what they have, mostly have one at
    /// `/v2/`, where other clients ask first.
    async fn challenge_to_answer(
        &self,
        response: &Response,
        was_authorized: bool,
        current_host: &CurrentHost,
    ) -> Result<Option<Challenge>, RegistryError> {
        // A challenge from where a redirect leads is not the registry's, and must not get its
        // credentials.
        if !self.is_from_registry(response) {
            return Ok(None);
        }
        let own = match response.status() {
            StatusCode::UNAUTHORIZED => Some(Challenge::find(response.headers())),
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND if !was_authorized && self.has_repository() => None,
            _ => return Ok(None),
        };
        if own.as_ref().is_some_and(Challenge::is_supported) || !self.has_repository() {
            return Ok(own);
        }
        let root = self.root_challenge.get_or_try_init(async || {
            let url = self.server.base.join("/v2/").expect("a path can stand in a URL");
            let response = self
                .send_following_redirects(&url, &["*/*"], None, None, current_host)
                .await?;
            let is_challenged = response.status() == StatusCode::UNAUTHORIZED && self.is_from_registry(&response);
            let challenge = is_challenged.then(|| Challenge::find(response.headers()));
            Ok(challenge.filter(Challenge::is_supported))
        });
        Ok(root.await?.clone().or(own))
    }
}
