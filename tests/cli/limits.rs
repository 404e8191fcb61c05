//! What an image may cost, and what is said of one that costs more.

use super::scene::{Scene, failure, tar};
use crate::support::single_image::digest;
use crate::support::single_image::gzip;

#[test]
fn each_limit_names_the_layer_the_entry_and_the_flag_that_raises_it() {
    let scene = Scene::new();
    let lower = scene.layout.gzip_layer(&tar(&[("etc/hostname", b"lower\n")]));
    let content = vec![0; 3 << 20];
    let upper = tar(&[("etc/motd", b"welcome\n"), ("zeros", &content)]);
    let upper = scene.layout.layer(&gzip(&upper), digest(&upper));
    let reference = scene.layout.pinned(&scene.layout.image(&[lower, upper]));
    let run = |arguments: &[&str]| {
        let mut command = scene.build(&reference);
        command
            .args(["--free-mib=0", "--no-journal", "--mode=ax"])
            .args(arguments);
        command.output().unwrap()
    };
    for (flag, limit, enough, words) in [
        (
            "--max-size-mib",
            "3",
            "8",
            "layer 2 of 2 entry 2 \"zeros\" bytes 3145728",
        ),
        ("--max-entries", "3", "4", "layer 2 of 2 entry 2 \"zeros\" entries 3"),
    ] {
        let error = failure(&run(&[flag, limit]));
        assert_eq!(error["kind"], "policy_denied", "{error}");
        let message = error["message"].as_str().unwrap();
        for word in words.split_whitespace() {
            assert!(message.contains(word), "{word:?} is missing in {message:?}");
        }
        assert!(error["remediation"].as_str().unwrap().contains(flag), "{error}");
        assert!(scene.left().is_empty());
        let output = run(&[flag, enough]);
        assert!(output.status.success(), "{flag} {enough}: {output:?}");
        std::fs::remove_file(scene.output()).unwrap();
    }
}

/// The layers are small, but the disk needs room for the journal.
#[test]
fn a_disk_that_fits_is_limited_and_one_that_is_asked_for_is_not() {
    let (scene, reference) = Scene::with_image();
    let run = |arguments: &[&str]| {
        let mut command = scene.build(&reference);
        command.args(["--mode=ax", "--max-size-mib=8"]).args(arguments);
        command.output().unwrap()
    };
    let error = failure(&run(&["--free-mib=100"]));
    assert_eq!(error["kind"], "policy_denied");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("the disk would have") && message.contains("8388608"),
        "{message}"
    );
    assert!(
        error["remediation"].as_str().unwrap().contains("--max-size-mib"),
        "{error}"
    );
    assert!(run(&["--size-mib=100"]).status.success());
}
