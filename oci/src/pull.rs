//! Resolves the image of a source for a platform, and pulls its layers.

use super::error::ImageError;
use super::image::{Image, Layer, ListedImage};
use super::platform::Platform;
use super::resolve::{self, OnLayers};
use super::source::Source;
use layer::cancel::Cancelled;

impl Source {
    /// Lists the images that the reference names, in the order of its index. Takes one request, and
    /// a second one for the config of an image without an index.
    ///
    /// Omits attestations and artifacts, and does not follow nested indexes. Asks a registry only
    /// once for the reference: [`Source::resolve_listed`] and [`Source::resolve`] find a listed
    /// image even if the tag has moved since.
    ///
    /// # Errors
    ///
    /// [`ImageError::Document`] and [`ImageError::Content`] when a document is invalid or does not
    /// match its digest; otherwise the error of the source.
    pub fn platforms(&self) -> Result<Vec<ListedImage>, ImageError> {
        resolve::list_images(self).map_err(Cancelled::surface)
    }

    /// Finds the image for a platform, following nested indexes, and reads its manifest and config.
    ///
    /// # Errors
    ///
    /// [`ImageError::NoPlatform`] when no image is for the platform; [`ImageError::Document`] and
    /// [`ImageError::Content`] when a document is invalid or does not match its digest; otherwise
    /// the error of the source.
    pub fn resolve(&self, platform: &Platform) -> Result<Image, ImageError> {
        self.search(platform, &mut |_| Ok(()))
    }

    /// Reads the manifest and config of an image that [`Source::platforms`] listed. Does not ask
    /// for the tag again.
    ///
    /// [`Image::platform`] is the one in the list. If the index names no platform, it is the
    /// config's; if that names none either, [`Platform::host`]. Call [`Source::prefetch`] to start
    /// downloading the layers.
    ///
    /// # Errors
    ///
    /// [`ImageError::NotListed`] when the reference does not name that image, for example because
    /// another source listed it; [`ImageError::Document`] with
    /// [`ManifestError::IndexInIndex`](super::ManifestError::IndexInIndex) when it is a nested
    /// index; otherwise those of [`Source::resolve`].
    pub fn resolve_listed(&self, image: &ListedImage) -> Result<Image, ImageError> {
        resolve::resolve_listed(self, image).map_err(Cancelled::surface)
    }

    /// Resolves like [`Source::resolve`], and starts to download the layers missing from this
    /// machine, several at once and in order. The download starts before the config arrives, unless
    /// the config is needed to look for cached tars. From then on, progress is reported.
    ///
    /// Returns the image, and its layers as they should be read: from the tar cache where possible.
    ///
    /// # Errors
    ///
    /// Those of [`Source::resolve`] and [`Source::prefetch`].
    pub fn pull(&self, platform: &Platform) -> Result<(Image, Vec<Layer>), ImageError> {
        let mut started = false;
        let image = self.search(platform, &mut |blobs| {
            // Cached tars are found by diff ID, which only the config holds.
            if self.tar_store.is_some() {
                return Ok(());
            }
            started = true;
            self.reporter.set_layers(blobs);
            self.download(blobs)
        })?;
        let layers = if started {
            image.layers.clone()
        } else {
            self.prefetch(&image.layers)?
        };
        Ok((image, layers))
    }

    /// Finds the image for a platform. Calls `on_layers` with its layers as soon as the manifest is
    /// known to be the right one, before the config is read.
    fn search(&self, platform: &Platform, on_layers: &mut OnLayers<'_>) -> Result<Image, ImageError> {
        resolve::resolve(self, platform, on_layers).map_err(Cancelled::surface)
    }
}
