# Every command of the project; .ci/run calls the same ones. `just` alone lists them.

_:
    @just --list

# What to run before a commit: needs Rust alone
check: format clippy light doc test

# All tests, by nextest where it is installed; oracles without root, Linux or their tools are skipped
test:
    #!/usr/bin/env bash
    set -euo pipefail
    if cargo nextest --version >/dev/null 2>&1; then
      # Many tests wait: for a server that is slow on purpose, for a machine that boots.
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

# The crates as others adopt them: each set of features lints and has few dependencies, of all kinds
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

# The ext4 crate with the oldest Rust that it promises (rustup)
msrv:
    #!/usr/bin/env bash
    set -euo pipefail
    rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' ext4/Cargo.toml)
    rustup toolchain install "$rust" --profile minimal --no-self-update
    cargo "+$rust" check --locked --package microagent-ext4 --features fallocate --target-dir target/msrv

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Spelling, and shell scripts
prose:
    typos
    shellcheck .ci/run .ci/nightly benches/*.sh tests/rig/*.sh release/*.sh

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
    tests/rig/e2fsprogs-images.sh
    tests/rig/make-images.sh

# Whole images before e2fsck, the kernel and an independent unpack, with the release profile, as root
oracles: images
    REQUIRE_ORACLES=1 cargo test --release --test oracle -- images:: copies::

# What is released: the program of README's first command, and the oracles before it
release-profile: readme oracles

# Layers made of the seeds from..to, applied by us, umoci and containerd, as root
differential from to:
    REQUIRE_ORACLES=1 DIFFERENTIAL_SEEDS={{ from }}..{{ to }} cargo test --test oracle -- differential::

# Images damaged by the seeds from..to, eleven of each, before e2fsck and our own check
damage from to:
    REQUIRE_ORACLES=1 DAMAGE_SEEDS={{ from }}..{{ to }} cargo test --package microagent-ext4 --test oracle -- check_finds_the_damage_that_e2fsck_finds

# Builds of which each system call fails once, with each of three errors, before what they leave
faults:
    REQUIRE_ORACLES=1 FAULT_SWEEP=all cargo test --test oracle -- faults::

# README's test command without root and with Rust, a C compiler, coreutils and find alone (Debian, root)
unprivileged:
    tests/rig/unprivileged.sh "$(grep --max-count=1 '^cargo test' README.md)"

# QEMU, and a kernel for each architecture, or with `every` two of each, into target/boot, on Debian
machines *every:
    BOOT_CACHE=target/boot tests/rig/boot-rootfs.sh --fetch linux-image-6.12-cloud-amd64 linux-image-cloud-arm64 \
        {{ if every == "" { "" } else { "linux-image-cloud-amd64 linux-image-6.12-cloud-arm64" } }}

# Whole images in QEMU, on two kernels for each architecture
boot: (machines "every") images
    REQUIRE_ORACLES=1 BOOT_EVERY_KERNEL=1 cargo test --test oracle -- boot:: init::

# Checks that take long and break rarely, all or those named: .ci/parts lists them
nightly *parts:
    .ci/nightly {{ parts }}

# Fuzz targets, all or those named, for some seconds each; without a sanitizer, since nothing that is fuzzed has unsafe code
fuzz seconds="60" *targets="":
    #!/usr/bin/env bash
    set -euo pipefail
    cd fuzz
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

# The fuzz targets that make images, for long, each image before e2fsck; what it finds fault with stays in /dev/shm
fuzz-judged seconds="3600":
    E2FSCK=/usr/sbin/e2fsck TMPDIR=/dev/shm just fuzz {{ seconds }} tree layer manifest

# The seeds anew, after a change to their generator; those of `tree`, and an image of mke2fs, are kept as they are
seeds:
    cd fuzz && cargo run --example seeds

# The sample image anew, after a change to its generator
hello:
    rm -rf examples/hello
    python3 -B examples/make-hello

# The table of digests anew, after a change to the bytes of images or to the version; what changes is to be looked at
golden:
    UPDATE_GOLDEN=1 cargo test --test suite golden::images_from_layouts

# The init's programs anew, after a change to guest: both, with the compiler that guest/init/rust-toolchain.toml names
init:
    cd guest/init && rustup target add x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu
    for cpu in x86_64 aarch64; do just init-for $cpu && cp target/init/$cpu-unknown-linux-gnu/release/microagent-init src/guest/init/$cpu || exit; done

# One of them, into target/init, and nowhere else
init-for cpu:
    cd guest/init && CARGO_INCREMENTAL=0 cargo build --release --locked --target {{ cpu }}-unknown-linux-gnu --target-dir ../../target/init

# What the recipes below need, on Debian, as root, with rustup
cross-tools:
    release/install-tools.sh

# The program for another system, with any options of cargo build: aarch64-apple-darwin, x86_64-pc-windows-gnu, …
cross target *options:
    release/cargo-for.sh {{ target }} build {{ options }}

# Other systems, under QEMU and Wine: the tests of what hosts differ in, or with `bytes` what they build
emulated *part:
    release/emulated.sh {{ part }}

# Archives, packages and checksums for all systems, of the commit that is checked out
release out:
    release/release.sh {{ out }}

# That a release is the same wherever it is made
release-twice *options:
    release/twice.sh {{ options }}

# All crates as they would be published
publishable *options:
    # What Cargo keeps of an earlier attempt, unpacked and compiled, has the same version, and would be taken for this one.
    rm -rf target/publish "${CARGO_HOME:-$HOME/.cargo}"/registry/*/-*/microagent-*
    cargo publish --workspace --dry-run --locked --target-dir target/publish {{ options }}
