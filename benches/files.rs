//! Memory and time for a layer of many small files: `cargo bench --bench files`.
//!
//! Measures reading a tar, applying it, and laying out and encoding the file system. The layer is
//! generated while it is read, and the image is discarded. Each row is a process of its own; memory
//! is its peak (`VmHWM`, Linux only) less that of a layer of one file.
//!
//! Fails if an entry takes more than 400 bytes, or if a file of the largest layer takes more than
//! twice the time of a file of the smallest.

use std::env;
use std::fs;
use std::io::{self, BufReader, Read};
use std::process::{Command, ExitCode};
use std::time::Instant;

use ext4::{Formatter, Options};
use layer::{LayerOptions, RootfsBuilder};
use support::null_output::NullOutput;
use tar::{EntryType, Header};

const ROWS: [u64; 3] = [10_000, 100_000, 1_000_000];
const FILES_PER_DIRECTORY: u64 = 1000;
const MAX_BYTES_PER_ENTRY: f64 = 400.0;
const BLOCK: usize = 512;

fn main() -> ExitCode {
    if let Ok(file_count) = env::var("FILES_BENCH_COUNT") {
        let (seconds, peak) = measure(file_count.parse().expect("this program sets it"));
        write(&format!("{seconds} {peak}\n"));
        return ExitCode::SUCCESS;
    }
    let (_, constant) = measure_apart(1);
    write("| files | seconds | µs a file | peak, MiB | bytes an entry |\n|---|---|---|---|---|\n");
    let mut rows = Vec::new();
    for file_count in ROWS {
        let (seconds, peak) = measure_apart(file_count);
        let entry_count = file_count + file_count.div_ceil(FILES_PER_DIRECTORY);
        let (micros, bytes) = (
            seconds * 1e6 / to_float(file_count),
            to_float(peak.saturating_sub(constant)) / to_float(entry_count),
        );
        let mebibytes = to_float(peak) / to_float(1 << 20);
        write(&format!(
            "| {file_count} | {seconds:.2} | {micros:.2} | {mebibytes:.1} | {bytes:.0} |\n"
        ));
        rows.push((micros, bytes));
    }
    let (first, last) = (rows[0], rows[ROWS.len() - 1]);
    let ok = last.1 <= MAX_BYTES_PER_ENTRY && last.0 <= 2.0 * first.0;
    write(&format!(
        "time a file, last to first: {:.2}; bytes an entry: {:.0} of {MAX_BYTES_PER_ENTRY}: {}\n",
        last.0 / first.0,
        last.1,
        if ok { "ok" } else { "too much" }
    ));
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "the benchmark prints a table")]
fn write(text: &str) {
    print!("{text}");
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn to_float(number: u64) -> f64 {
    number as f64
}

/// Measures a layer in a process of its own. Returns seconds, and the peak of memory in bytes.
fn measure_apart(file_count: u64) -> (f64, u64) {
    let output = Command::new(env::current_exe().expect("it runs"))
        .env("FILES_BENCH_COUNT", file_count.to_string())
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("numbers");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (seconds, peak) = text.trim().split_once(' ').expect("two numbers");
    (seconds.parse().expect("a number"), peak.parse().expect("a number"))
}

fn measure(file_count: u64) -> (f64, u64) {
    let start = Instant::now();
    let formatter = Formatter::new(NullOutput, Options::new([7; 16])).expect("the options are usual");
    let mut rootfs = RootfsBuilder::new(formatter);
    let summary = rootfs
        .apply(BufReader::new(Layer::new(file_count)), &LayerOptions::default())
        .expect("the layer is right");
    assert!(summary.entry_count > file_count);
    rootfs.formatter.finish(rootfs.tree).expect("any size is possible");
    (start.elapsed().as_secs_f64(), peak().unwrap_or_default())
}

/// Returns the peak of memory of this process, in bytes.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}

/// A tar of directories with files in them, generated while it is read.
struct Layer {
    file_count: u64,
    next: u64,
    /// Bytes of the current entry, of which `offset` are read.
    entry: Vec<u8>,
    offset: usize,
}

impl Layer {
    fn new(file_count: u64) -> Self {
        Self {
            file_count,
            next: 0,
            entry: Vec::new(),
            offset: 0,
        }
    }

    fn fill(&mut self) {
        self.entry.clear();
        self.offset = 0;
        if self.next == self.file_count {
            return;
        }
        let directory = format!("usr/lib/directory-{:06}", self.next / FILES_PER_DIRECTORY);
        if self.next.is_multiple_of(FILES_PER_DIRECTORY) {
            self.push(EntryType::Directory, &directory, "");
        }
        let name = format!("{directory}/file-{:09}.py", self.next);
        self.push(EntryType::Regular, &name, &name);
        self.next += 1;
    }

    fn push(&mut self, entry_type: EntryType, name: &str, content: &str) {
        let mut header = Header::new_ustar();
        header.set_entry_type(entry_type);
        header.set_path(name).expect("names are short");
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.entry.extend(header.as_bytes());
        self.entry.extend(content.as_bytes());
        self.entry.resize(self.entry.len().next_multiple_of(BLOCK), 0);
    }
}

impl Read for Layer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.offset == self.entry.len() {
            self.fill();
        }
        let len = (&self.entry[self.offset..]).read(buffer)?;
        self.offset += len;
        Ok(len)
    }
}
