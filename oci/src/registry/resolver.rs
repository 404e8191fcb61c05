//! Resolution of host names by the system.

use std::io;
use std::net::ToSocketAddrs;
use std::thread;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

/// Resolver that asks the system, on a new thread for each name. If no thread can be started, it
/// fails, whereas reqwest's own resolver panics or waits for ever.
#[derive(Clone, Copy)]
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            let thread = thread::Builder::new().name("resolver".to_owned());
            let started = thread.spawn(move || {
                // The request sets the port. The receiver is gone if the request has timed out.
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
