//! Target `manifest`: indexes, manifests and configs, and the init of their image.

use layer::LayerOptions;

use crate::layer::empty;

/// Reads documents separated by NUL bytes: the media type of the response, an index or manifest, a
/// config, passwd(5) and group(5). If they are an image, installs its init.
pub fn run(bytes: &[u8]) {
    let mut parts = bytes.split(|&byte| byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (announced, document, config) = (next(), next(), next());
    let Some(image) = oci::fuzzing::image(&String::from_utf8_lossy(announced), document, config) else {
        return;
    };
    let mut rootfs = empty();
    let tar: Vec<u8> = [("etc/passwd", next()), ("etc/group", next())]
        .into_iter()
        .flat_map(|(name, content)| crate::pax::file(name, content))
        .collect();
    rootfs
        .apply(&tar[..], &LayerOptions::default())
        .expect("nothing is wrong with these files");
    if microagent::fuzzing::install_init(&image, &mut rootfs).is_ok() {
        crate::layer::finish(rootfs);
    }
}
