# The commands of the project. `just` alone lists them, and .ci/run calls them too.

_:
    @just --list

# Checks to run before a commit; they need only Rust
check: format clippy light doc test

# All tests, with nextest where it is installed; skips those without root, Linux or their tools
test:
    #!/usr/bin/env bash
    set -euo pipefail
    if cargo nextest --version >/dev/null 2>&1; then
      # Many tests wait, for a slow server or for a machine to boot.
      cargo nextest run --workspace --test-threads $((2 * $(nproc)))
      cargo test --workspace --doc
    else
      cargo test --workspace
    fi

format:
    cargo fmt --all --check
    cd guest/init && cargo fmt --check
    cd fuzz && cargo fmt --check

clippy:
    cargo clippy --workspace --all-targets -- -D warnings
    cd guest/init && cargo clippy --target x86_64-unknown-linux-gnu --target-dir ../../target/init -- -D warnings
    cd fuzz && cargo clippy --all-targets -- -D warnings

# Lints each set of features of the crates, and limits the number of dependencies
light:
    #!/usr/bin/env bash
    set -euo pipefail
    while read -r most package features; do
      crate=(--locked --package "$package" $features)
      dependencies=$(cargo tree "${crate[@]}" --edges normal,build --prefix none --no-dedupe | sed '1d; s/ (proc-macro)//' | sort -u)
      [ "$(wc -l <<<"$dependencies")" -le "$most" ] || { printf '%s\n' "too many dependencies: $package $features" "$dependencies" >&2; exit 1; }
      cargo clippy "${crate[@]}" -- -D warnings
    done <<'END'
    10 microagent-ext4
    29 microagent-layer
    54 microagent-oci --no-default-features
    165 microagent-oci
    58 microagent --no-default-features
    169 microagent --no-default-features --features registry
    193 microagent
    END
    cargo test --locked --package microagent-oci --no-default-features --lib

# Checks the ext4 crate with the oldest Rust that it supports (rustup)
msrv:
    #!/usr/bin/env bash
    set -euo pipefail
    rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' ext4/Cargo.toml)
    rustup toolchain install "$rust" --profile minimal --no-self-update
    cargo "+$rust" check --locked --package microagent-ext4 --features fallocate --target-dir target/msrv

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Checks spelling, the width and habits of prose, and shell scripts
prose:
    typos
    .ci/prose
    shellcheck .ci/run .ci/nightly benches/*.sh tests/rig/*.sh release/*.sh

# Checks licences, duplicates and sources of the dependencies
deny:
    cargo deny check bans licenses sources

# Checks for known vulnerabilities, in a database that it downloads
audit:
    cargo deny check advisories

# Runs the first command of the README, and checks its image with e2fsck
readme:
    $(grep --max-count=1 '^cargo run --release' README.md)
    /usr/sbin/e2fsck -fn hello.ext4

# Installs the tools that tests need (Debian, root)
tools:
    tests/rig/install-tools.sh

# Makes the images that tests need, from Debian and npm packages (root)
images:
    tests/rig/e2fsprogs-images.sh
    tests/rig/make-images.sh

# Tests whole images with e2fsck, the kernel and umoci, with the release profile (root)
oracles: images
    REQUIRE_ORACLES=1 cargo test --release --test oracle -- images:: copies::

# Tests the release profile: the README's first command, and the oracles
release-profile: readme oracles

# Compares random layers of the seeds from..to with umoci and containerd (root)
differential from to:
    REQUIRE_ORACLES=1 DIFFERENTIAL_SEEDS={{ from }}..{{ to }} cargo test --test oracle -- differential::

# Compares ext4::check with e2fsck on images damaged by the seeds from..to, eleven images a seed
damage from to:
    REQUIRE_ORACLES=1 DAMAGE_SEEDS={{ from }}..{{ to }} cargo test --package microagent-ext4 --test oracle -- check_finds_the_damage_that_e2fsck_finds

# Fails each system call of builds once, with each of three errors, and checks what is left
faults:
    REQUIRE_ORACLES=1 FAULT_SWEEP=all cargo test --test oracle -- faults::

# The user has only Rust, a C compiler, coreutils and find.
# Runs the README's test command without root and without the tests' tools (Debian, root)
unprivileged:
    tests/rig/unprivileged.sh "$(grep --max-count=1 '^cargo test' README.md)"

# Downloads QEMU, and a kernel for each architecture, or two with `every`, into target/boot (Debian)
machines *every:
    BOOT_CACHE=target/boot tests/rig/boot-rootfs.sh --fetch linux-image-6.12-cloud-amd64 linux-image-cloud-arm64 \
        {{ if every == "" { "" } else { "linux-image-cloud-amd64 linux-image-6.12-cloud-arm64" } }}

# Boots images in QEMU, on two kernels for each architecture
boot: (machines "every") images
    REQUIRE_ORACLES=1 BOOT_EVERY_KERNEL=1 cargo test --test oracle -- boot:: init::

# Runs checks that take long and break rarely, all or those named; .ci/parts lists them
nightly *parts:
    .ci/nightly {{ parts }}

# Runs fuzz targets, all or those named, for some seconds each
fuzz seconds="60" *targets="":
    #!/usr/bin/env bash
    set -euo pipefail
    cd fuzz
    # Without a sanitizer, since the fuzzed crates have no unsafe code.
    cargo fuzz build --sanitizer none
    targets="{{ targets }}"
    for target in ${targets:-$(cargo fuzz list)}; do
      printf '== %s\n' "$target"
      options=(-max_total_time={{ seconds }} -timeout=10 -rss_limit_mb=1024 -max_len=65536)
      if [ -f "dictionaries/$target" ]; then options+=("-dict=dictionaries/$target"); fi
      mkdir -p "corpus/$target"
      log=target/$target.log
      if ! cargo fuzz run --sanitizer none "$target" "corpus/$target" "seeds/$target" -- "${options[@]}" -print_final_stats=1 2>"$log"; then
        tail -n 80 "$log"
        exit 1
      fi
      grep '^stat::' "$log"
    done

# Runs the fuzz targets that make images, each checked by e2fsck; faulty ones stay in /dev/shm
fuzz-e2fsck seconds="3600":
    E2FSCK=/usr/sbin/e2fsck TMPDIR=/dev/shm just fuzz {{ seconds }} tree layer manifest

# Regenerates the fuzz targets' seeds, except for `tree` and the images of mke2fs
seeds:
    cd fuzz && cargo run --example seeds

# Regenerates the sample image, after a change to examples/make-hello
hello:
    rm -rf examples/hello
    python3 -B examples/make-hello

# Regenerates the table of digests, after a change to images' bytes or the version; review the diff
golden:
    UPDATE_GOLDEN=1 cargo test --test suite golden::images_from_layouts

# The toolchain is the one that guest/init/rust-toolchain.toml names.
# Rebuilds the init for both architectures, after a change to guest
init:
    cd guest/init && rustup target add x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu
    for cpu in x86_64 aarch64; do just init-for $cpu && cp target/init/$cpu-unknown-linux-gnu/release/microagent-init src/guest/init/$cpu || exit; done

# Builds the init for one architecture into target/init alone
init-for cpu:
    cd guest/init && CARGO_INCREMENTAL=0 cargo build --release --locked --target {{ cpu }}-unknown-linux-gnu --target-dir ../../target/init

# Installs what the recipes below need (Debian, root, rustup)
cross-tools:
    release/install-tools.sh

# Builds for another system, such as aarch64-apple-darwin, with any options of cargo build
cross target *options:
    release/cargo-for.sh {{ target }} build {{ options }}

# Tests on other systems, under QEMU and Wine; `bytes` only compares the images that they build
emulated *part:
    release/emulated.sh {{ part }}

# Makes archives, packages and checksums of the current commit for all systems
release out:
    release/release.sh {{ out }}

# Makes a release in two directories, and compares the files
release-twice *options:
    release/twice.sh {{ options }}

# Packages all crates as for publication, without an upload
publishable *options:
    # Cargo would reuse crates of an earlier run, since they have the same version.
    rm -rf target/publish "${CARGO_HOME:-$HOME/.cargo}"/registry/*/-*/microagent-*
    cargo publish --workspace --dry-run --locked --target-dir target/publish {{ options }}
