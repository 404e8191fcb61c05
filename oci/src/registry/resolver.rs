//! Addresses of hosts, as the system knows them.

use std::io;
use std::net::ToSocketAddrs;
use std::thread;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

/// Asks the system on a thread for each name. Reqwest's own resolver panics, or waits without end,
/// where there is no thread.
#[derive(Clone, Copy)]
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            let thread = thread::Builder::new().name("resolver".to_owned());
            let started = thread.spawn(move || {
                // The port is that of the request. Nobody listens any more if it took too long.
                let _ = sender.send((name.as_str(), 0).to_socket_addrs());
            });
            started.map_err(|error| {
                let text = format!("could not start a thread to look up the host: {error}");
                io::Error::new(error.kind(), text)
            })?;
            let addresses = receiver.await??;
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::runtime::Runtime;
    use super::*;

    #[test]
    fn names_have_addresses_or_an_error() {
        let runtime = Runtime::new(0).unwrap();
        let resolve = |name: &str| {
            let name: Name = name.parse().unwrap();
            runtime.block_on(async || SystemResolver.resolve(name).await).unwrap()
        };
        let addresses: Vec<_> = resolve("localhost").unwrap_or_else(|error| panic!("{error}")).collect();
        assert!(!addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()));
        assert!(resolve("name.invalid").is_err());
    }
}
