//! Images of e2fsprogs' own regression tests, damaged and repaired: [`ext4::check()`] finds a
//! problem where `e2fsck -fn` does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ext4::ReadError;

use support::program::rig_directory;
use support::skip::{print_uncaptured, skip};
use support::tools;

/// Limit on the output of e2fsck that is read, in bytes: with `-n`, it may never end.
const MAX_OUTPUT: u64 = 1 << 20;

/// Images that only one of the two calls faulty, and why.
const REASONS: &[(&str, &str)] = &[
    // Not checked, as documented.
    ("f_quota.0", "usage in quota files is not compared"),
    ("f_jnl_32bit.0", COUNTS),
    ("f_jnl_64bit.0", COUNTS),
    ("j_recover_csum3_64bit.1", COUNTS),
    (
        "f_pre_1970_date_encoding.1",
        "e2fsck takes these times for wrongly encoded ones",
    ),
    // Found by the check alone, as documented.
    ("r_min_itable.0", COPIES),
    ("f_uninit_restart_fsck.2", COPIES),
    ("t_dangerous.6", MAP),
    ("t_iexpand_full.2", MAP),
    // Refused by the kernel.
    ("j_corrupt_revoke_block.0", REVOKED),
    ("j_corrupt_revoke_rcount.0", REVOKED),
    (
        "f_ea_inode_self_ref.2",
        "Linux refuses a directory entry that leads to an attribute inode",
    ),
    // Not checked by e2fsck.
    (
        "f_bad_disconnected_inode.2",
        "e2fsck does not check the reserved inodes 9 and 10",
    ),
    ("f_badtable.2", BAD_BLOCKS),
    ("f_bbinode.2", BAD_BLOCKS),
    (
        "f_inlinedata_repair.2",
        "two inodes share an attribute block whose reference count is one",
    ),
    (
        "f_resize_inode.10",
        "e2fsck checks only a quarter of the blocks reserved for descriptors",
    ),
];

const COUNTS: &str = "counts of a superblock that was not unmounted cleanly are not compared: the kernel counts again";
const COPIES: &str = "backups of the superblock and descriptors are damaged";
const MAP: &str = "the superblock's backup of the journal's block map is damaged";
const REVOKED: &str = "more revoked blocks than fit into a revoke block: Linux 6.18 refuses to mount it";
const BAD_BLOCKS: &str = "e2fsck skips parts of inode tables that are listed as bad blocks";

/// A verdict on an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Clean,
    Faulty,
    /// Has features that the check does not know, or fast commits.
    Unsupported,
}

/// Verdicts of the check and of e2fsck on an image.
struct Verdicts {
    name: String,
    ours: Verdict,
    theirs: Verdict,
    /// First problem of e2fsck, or else of the check.
    problem: String,
}

impl Verdicts {
    fn of(image: &Path) -> Self {
        let name = image.file_name().unwrap().to_str().unwrap().to_owned();
        let (ours, our_problem) = match ext4::check(File::open(image).unwrap()) {
            Ok(report) => match report.findings.first() {
                None => (Verdict::Clean, String::new()),
                Some(first) => (Verdict::Faulty, first.to_string()),
            },
            Err(error @ (ReadError::Unsupported { .. } | ReadError::FastCommits)) => {
                (Verdict::Unsupported, error.to_string())
            }
            Err(error) => (Verdict::Faulty, error.to_string()),
        };
        let their_problem = their_problem(image);
        let theirs = their_problem.as_ref().map_or(Verdict::Clean, |_| Verdict::Faulty);
        Self {
            name,
            ours,
            theirs,
            problem: their_problem.unwrap_or(our_problem),
        }
    }

    /// Returns whether one verdict is clean and the other faulty.
    fn differ(&self) -> bool {
        self.ours != Verdict::Unsupported && self.ours != self.theirs
    }
}

/// Returns the problems that e2fsck finds after a replay of the journal, which `-n` alone does not
/// do.
fn their_problem(image: &Path) -> Option<String> {
    let (clean, text) = e2fsck(&["-fn"], image);
    if !text.contains("skipping journal recovery") {
        return (!clean).then_some(text);
    }
    let copy = tools::copy_of(image);
    let (clean, text) = e2fsck(&["-y", "-E", "journal_only"], &copy);
    if !clean {
        return Some(text);
    }
    let (clean, text) = e2fsck(&["-fn"], &copy);
    (!clean).then_some(text)
}

/// Returns whether e2fsck finds no problem, and its output. Its clock is set to the maximum, so
/// that no time is in the future.
fn e2fsck(arguments: &[&str], image: &Path) -> (bool, String) {
    let mut child = tools::command("e2fsck")
        .env("E2FSCK_TIME", u32::MAX.to_string())
        .args(arguments)
        .arg(image)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = Vec::new();
    // Dropping the pipe ends a process that prints more.
    let stdout = child.stdout.take().unwrap();
    stdout.take(MAX_OUTPUT).read_to_end(&mut output).unwrap();
    let status = child.wait().unwrap();
    let output = String::from_utf8_lossy(&output);
    let is_harmless = |line: &str| {
        line.is_empty()
            || line.starts_with("Pass ")
            || line.ends_with("Optimize? no")
            || line.ends_with("recovering journal")
            || line.contains(": clean, ")
            || line.contains(" files (") && line.ends_with(" blocks")
    };
    let output: Vec<&str> = output.lines().filter(|line| !is_harmless(line)).collect();
    let clean = status.code() == Some(0) && output.is_empty();
    (clean, format!("{status}: {}", output.join("; ")))
}

/// Gets both verdicts on all images, on two threads.
fn compare_all(images: &[PathBuf]) -> Vec<Verdicts> {
    let verdicts = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(image) = images.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = Verdicts::of(image);
                    verdicts.lock().unwrap().push(verdict);
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().unwrap();
    verdicts.sort_by(|a, b| a.name.cmp(&b.name));
    verdicts
}

#[test]
fn e2fsprogs_regression_images_get_the_verdict_of_e2fsck() {
    if tools::are_missing(&["e2fsck"]) {
        return;
    }
    let Ok(directory) = fs::read_dir(rig_directory().join("e2fsprogs")) else {
        return skip("tests/rig/e2fsprogs-images.sh was not run");
    };
    let images: Vec<_> = directory.map(|entry| entry.unwrap().path()).collect();
    let verdicts = compare_all(&images);
    let mut counts: BTreeMap<(Verdict, Verdict), usize> = BTreeMap::new();
    let mut wrong = String::new();
    let mut unused: BTreeMap<&str, &str> = REASONS.iter().copied().collect();
    for one in &verdicts {
        *counts.entry((one.ours, one.theirs)).or_default() += 1;
        if one.differ() && unused.remove(&one.name[..]).is_none() {
            let problem: String = one.problem.chars().take(500).collect();
            writeln!(
                wrong,
                "{}: ours {:?}, e2fsck's {:?}: {problem}",
                one.name, one.ours, one.theirs
            )
            .unwrap();
        }
    }
    for name in unused.keys() {
        writeln!(wrong, "{name}: REASONS lists it, but the verdicts do not differ").unwrap();
    }
    let count = |ours, theirs| counts.get(&(ours, theirs)).copied().unwrap_or(0);
    print_uncaptured(&format!(
        "e2fsprogs' regression images, {} of them: both clean {}, both faulty {}, missed {}, false alarms {}, \
         unsupported {} ({} of them clean for e2fsck)\n",
        verdicts.len(),
        count(Verdict::Clean, Verdict::Clean),
        count(Verdict::Faulty, Verdict::Faulty),
        count(Verdict::Clean, Verdict::Faulty),
        count(Verdict::Faulty, Verdict::Clean),
        count(Verdict::Unsupported, Verdict::Clean) + count(Verdict::Unsupported, Verdict::Faulty),
        count(Verdict::Unsupported, Verdict::Clean),
    ));
    for (name, reason) in REASONS {
        print_uncaptured(&format!("  {name}: {reason}\n"));
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count(Verdict::Faulty, Verdict::Faulty) > 100, "too few damaged images");
}
