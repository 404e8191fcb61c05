"""A formula for Homebrew, which installs the archives."""

FORMULA = """\
class Microagent < Formula
  desc "{description}"
  homepage "{repository}"
  version "{version}"
  license "Apache-2.0"

  on_macos do
    on_arm do
      url "{url}/{macos_arm}"
      sha256 "{macos_arm_sha256}"
    end
    on_intel do
      url "{url}/{macos_intel}"
      sha256 "{macos_intel_sha256}"
    end
  end

  on_linux do
    on_arm do
      url "{url}/{linux_arm}"
      sha256 "{linux_arm_sha256}"
    end
    on_intel do
      url "{url}/{linux_intel}"
      sha256 "{linux_intel_sha256}"
    end
  end

  def install
    bin.install "microagent"
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/microagent.bash" => "microagent"
    zsh_completion.install "completions/_microagent"
    fish_completion.install "completions/microagent.fish"
    doc.install "README.md", "CHANGELOG.md", "THIRD-PARTY-LICENSES.txt", "microagent.cdx.json"
  end

  test do
    assert_match version.to_s, shell_output("#{{bin}}/microagent --version")
  end
end
"""

TARGETS = {
    "macos_arm": "aarch64-apple-darwin",
    "macos_intel": "x86_64-apple-darwin",
    "linux_arm": "aarch64-unknown-linux-musl",
    "linux_intel": "x86_64-unknown-linux-musl",
}


def formula(version: str, repository: str, description: str, archives: dict[str, tuple[str, str]]) -> bytes:
    """Returns the formula. `archives` has the name and the SHA-256 of each target's archive."""
    values = {}
    for key, target in TARGETS.items():
        values[key], values[f"{key}_sha256"] = archives[target]
    url = f"{repository}/releases/download/v{version}"
    # Homebrew's style: at most 80 characters, without an article at the beginning or a full stop.
    short = description.split(",")[0]
    return FORMULA.format(version=version, repository=repository, description=short, url=url, **values).encode()
