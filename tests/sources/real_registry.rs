//! Docker's registry: images that skopeo pushes from a layout are pulled as the layout has them.

use layer::failure::Failure as _;
use oci::{ImageError, RegistryError};
use serde_json::Value;

use crate::sources::{State, chain, linux, read, resolve};
use support::layout::{TestLayout, digest, for_platform, named};
use support::registry::{Registry, skopeo};

/// Creates a layout with an index for two platforms, tagged `latest`.
fn two_platforms() -> TestLayout {
    let layout = TestLayout::new();
    let image = |platform: &str| for_platform(layout.image(platform, &["shared", platform]), platform);
    let index = layout.index(&[image("linux/amd64"), image("linux/arm64/v8")]);
    layout.publish(&[named(index, "latest")]);
    layout
}

#[test]
fn real_registry_serves_the_same_image_as_the_layout() {
    let Some(registry) = Registry::start(false) else { return };
    let layout = two_platforms();
    registry.push(
        &layout.reference(":latest"),
        "team/app:v1",
        &["--all", "--preserve-digests"],
    );
    let state = State::new();
    let source = state.open(&registry.reference("team/app:v1")).unwrap();
    for architecture in ["amd64", "arm64"] {
        let local = resolve(&layout.reference(":latest"), architecture).unwrap();
        let pulled = source.resolve(&linux(architecture)).unwrap();
        assert_eq!(pulled.digest, local.digest);
        assert_eq!(pulled.layers, local.layers);
        assert_eq!(pulled.config, local.config);
        let contents: Vec<_> = pulled
            .layers
            .iter()
            .map(|layer| read(&source, layer).unwrap())
            .collect();
        assert_eq!(
            contents,
            [
                b"shared".to_vec(),
                format!("linux/{architecture}").replace("arm64", "arm64/v8").into()
            ]
        );

        assert_eq!(
            pulled.resolved_ref,
            registry.reference(&format!("team/app@{}", pulled.digest))
        );
        let pinned = State::new()
            .open(&pulled.resolved_ref)
            .unwrap()
            .resolve(&linux(architecture))
            .unwrap();
        assert_eq!(pinned.layers, local.layers);
    }
    let error = source.resolve(&linux("riscv64")).unwrap_err();
    assert_eq!(
        chain(&error),
        "no image for linux/riscv64; available: linux/amd64, linux/arm64"
    );
    for missing in ["team/app:v2", "team/other:v1"] {
        let error = State::new()
            .open(&registry.reference(missing))
            .unwrap()
            .resolve(&linux("amd64"))
            .unwrap_err();
        assert!(
            matches!(error, ImageError::Registry(RegistryError::NotFound { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn docker_schema2_image_is_pulled() {
    let Some(registry) = Registry::start(false) else { return };
    let layout = TestLayout::new();
    let image = layout.image("linux/amd64", &[]);
    layout.publish(&[named(image.clone(), "latest")]);
    registry.push(&layout.reference(":latest"), "docker:v2s2", &["--format", "v2s2"]);
    let reference = registry.reference("docker:v2s2");
    let pulled = State::new().open(&reference).unwrap().resolve(&linux("amd64")).unwrap();
    let raw = skopeo(&[
        "inspect",
        "--raw",
        "--tls-verify=false",
        &format!("docker://{reference}"),
    ])
    .stdout;
    let raw: Value = serde_json::from_slice(&raw).unwrap();
    assert_eq!(raw["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_ne!(pulled.digest.to_string(), digest(&image));
}

#[test]
fn credentials_of_skopeo_login_open_a_private_registry() {
    let Some(registry) = Registry::start(true) else { return };
    let auth_file = registry.login();
    let layout = two_platforms();
    registry.push(
        &layout.reference(":latest"),
        "private:1",
        &["--all", "--preserve-digests", "--authfile", auth_file.to_str().unwrap()],
    );
    let reference = registry.reference("private:1");
    let state = State::with_auth(auth_file);
    let source = state.open(&reference).unwrap();
    let pulled = source.resolve(&linux("amd64")).unwrap();
    assert_eq!(read(&source, &pulled.layers[0]).unwrap(), b"shared");

    let error = State::new()
        .open(&reference)
        .unwrap()
        .resolve(&linux("amd64"))
        .unwrap_err();
    assert!(matches!(
        &error,
        ImageError::Registry(RegistryError::Unauthorized { credentials: None, .. })
    ));
    let hint = error
        .hint()
        .unwrap()
        .naming(|setting| Some(format!("{setting:?}").into()));
    let login = format!("log in first: Login {{ registry: {:?} }}", registry.host);
    assert!(hint.ends_with(&login), "{hint}");
}
