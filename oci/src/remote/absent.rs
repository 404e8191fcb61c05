//! Replaces `remote.rs` without the feature `registry`: opening an image in a registry is an error.

use crate::blob::BlobBytes;
use crate::blobs::BlobStore;
use crate::credential_helper::CredentialHelper;
use crate::digest::Digest;
use crate::progress::Reporter;
use crate::reference::RegistryReference;
use crate::{BlobRef, ImageError, Layer, RawDocument, SourceOptions};

/// A type without values, in place of an image in a registry.
pub(super) enum RemoteImage {}

impl RemoteImage {
    pub(super) fn open(reference: &RegistryReference, _: &SourceOptions, _: &Reporter) -> Result<Self, ImageError> {
        Err(ImageError::NoRegistries {
            registry: reference.registry.clone(),
        })
    }

    pub(super) fn store(&self) -> &BlobStore {
        match *self {}
    }

    pub(super) fn credential_helper(&self) -> Option<&CredentialHelper> {
        match *self {}
    }

    pub(super) fn is_downloaded(&self, _: &Digest) -> bool {
        match *self {}
    }

    pub(super) fn cancel_downloads(&self) {
        match *self {}
    }

    pub(super) fn root_document(&self) -> Result<RawDocument, ImageError> {
        match *self {}
    }

    pub(super) fn manifest(&self, _: &Digest, _: u64) -> Result<Vec<u8>, ImageError> {
        match *self {}
    }

    pub(super) fn config(&self, _: &Digest, _: u64) -> Result<Vec<u8>, ImageError> {
        match *self {}
    }

    pub(super) fn download(&self, _: &[BlobRef], _: &Reporter) -> Result<(), ImageError> {
        match *self {}
    }

    pub(super) fn blob(&self, _: &Layer, _: &Reporter) -> Result<BlobBytes, ImageError> {
        match *self {}
    }

    pub(super) fn wait_downloaded(&self, _: &Layer) -> Result<(), ImageError> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Platform, Reference, Source};
    use layer::failure::{ErrorKind, Failure};

    #[test]
    fn layouts_are_read_and_registries_are_unsupported() {
        let options = SourceOptions::new("unused");
        let open = |reference: &str| Source::open(&Reference::parse(reference).unwrap(), &options);

        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let source = open(&format!("oci:{}:latest", repository.join("examples/hello").display())).unwrap();
        let platform = Platform::new("linux", "amd64", None).unwrap();
        let (image, layers) = source.pull(&platform).unwrap();
        assert!(!layers.is_empty());
        assert_eq!(layers, image.layers);
        source.wait_downloaded(&layers[0]).unwrap();

        let error = open("localhost:5000/image").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(
            error.to_string(),
            "cannot connect to localhost:5000: this program was built without registry support"
        );
    }
}
