//! Requests with authorization: the request is sent, the registry's challenge is answered, and the
//! request is sent again.

use reqwest::{Response, StatusCode, Url};

use super::Http;
use crate::registry::RegistryError;
use crate::registry::challenge::Challenge;
use crate::registry::server::CurrentHost;

impl Http {
    /// Sends a request, and sends it again with authorization if the registry challenges it.
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
        // Some registries answer a token for the repository's own scope with a challenge for other
        // scopes.
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
                // The old token has expired, and no new one was obtained. A public image needs no
                // token, so the request is sent without one.
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
                // Only `/v2/` asked for credentials, which are missing; the response itself is the
                // result.
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

    /// Returns the challenge to answer before the request is repeated; `None` if no answer can
    /// help.
    ///
    /// Some registries refuse without a challenge, or deny that an image exists. Most of them send
    /// a challenge at `/v2/`, which other clients request first. So `/v2/` is requested then.
    async fn challenge_to_answer(
        &self,
        response: &Response,
        was_authorized: bool,
        current_host: &CurrentHost,
    ) -> Result<Option<Challenge>, RegistryError> {
        // A host that the registry redirected to must not get the registry's credentials.
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
