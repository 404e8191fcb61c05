# Every command of the project; .ci/run calls the same ones. `just` alone lists them.

_:
    @just --list

# What to run before a commit: needs Rust alone
check: format clippy doc test

# The tests; without root, Linux and the tools, the oracles among them say that they are skipped
test:
    cargo test --workspace

format:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets -- -D warnings

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Spelling, and shell scripts
prose:
    typos
    shellcheck .ci/run tests/rig/*.sh

# Licences, duplicates and sources of the dependencies
deny:
    cargo deny check bans licenses sources

# Known vulnerabilities, from a database that is fetched
audit:
    cargo deny check advisories

# The first command of the README, and what e2fsck says of its image
readme:
    $(grep --max-count=1 '^cargo run --release' README.md)
    /usr/sbin/e2fsck -fn hello.ext4

# What the oracles need, on Debian, as root
tools:
    tests/rig/install-tools.sh

# The oracles' images, from Debian and npm packages, as root
images:
    tests/rig/make-images.sh

# Whole images before e2fsck, the kernel and an independent unpack, as root
oracles: images
    REQUIRE_ORACLES=1 cargo test --release --test oracle

# Every fuzz target for some seconds
fuzz seconds="60":
    for target in $(cargo +nightly fuzz list); do cargo +nightly fuzz run "$target" -- -max_total_time={{ seconds }} || exit; done

# The sample image anew, after a change to its generator
hello:
    rm -rf examples/hello
    python3 -B examples/make-hello
