//! What is shown of a build on its way, on standard error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use layer::cancel::Cancel;
use oci::{Awaited, LayerProgress, Progress, Wait};

use super::presentation::Mode;
use super::verbose;

/// How often bars move.
const BAR_INTERVAL: Duration = Duration::from_millis(100);

/// How often there is a line.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Style {
    /// Bars for people at a terminal, nothing but waits elsewhere
    Auto,
    /// One line a second
    Plain,
    /// Nothing
    None,
}

/// Shows progress as long as it lives.
pub(super) struct Display {
    ended: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    /// Begins to show it.
    pub(super) fn start(style: Style, mode: Mode, progress: &Arc<Progress>) -> Self {
        let ended = Cancel::new();
        let (watched, until) = (Arc::clone(progress), ended.clone());
        let builder = thread::Builder::new().name("progress".to_owned());
        let thread = match style {
            Style::Auto if mode == Mode::Ux && io::stderr().is_terminal() && !verbose::is_started() => {
                Some(builder.spawn(move || Bars::new(&watched).run(&until)))
            }
            Style::Plain => Some(builder.spawn(move || print_lines(&watched, &until))),
            Style::Auto if mode == Mode::Ux => Some(builder.spawn(move || print_waits(&watched, &until))),
            Style::Auto | Style::None => None,
        };
        // Without a thread nothing is shown, and the image is the same.
        let thread = thread.and_then(Result::ok);
        Self { ended, thread }
    }
}

impl Drop for Display {
    /// Clears the bars, so that what is printed next has standard error for itself.
    fn drop(&mut self) {
        self.ended.cancel();
        if let Some(thread) = self.thread.take() {
            // A display that failed is no failure of the build.
            let _ = thread.join();
        }
    }
}

/// Bytes of all layers.
struct Sum {
    finished: usize,
    count: usize,
    here: u64,
    applied: u64,
    size: u64,
}

impl Sum {
    fn of(layers: &[Arc<LayerProgress>]) -> Self {
        // Sizes are what a manifest says, which can be anything.
        let sum =
            |value: fn(&LayerProgress) -> u64| layers.iter().map(|layer| value(layer)).fold(0, u64::saturating_add);
        Self {
            finished: layers.iter().filter(|layer| layer.is_finished()).count(),
            count: layers.len(),
            here: sum(LayerProgress::here),
            applied: sum(LayerProgress::applied),
            size: sum(LayerProgress::size),
        }
    }
}

fn print_lines(progress: &Progress, ended: &Cancel) {
    let (mut last, mut waits) = (String::new(), Waits::default());
    while !ended.is_cancelled() {
        let _ = ended.wait_timeout(LINE_INTERVAL);
        let layers = progress.layers();
        let line = line(&Sum::of(&layers));
        for wait in waits.news(&layers, &progress.waits()) {
            let _ = writeln!(io::stderr(), "progress: {wait}");
        }
        if line != last {
            // Nobody is left to tell if standard error is closed.
            let _ = io::stderr().write_all(line.as_bytes());
        }
        last = line;
    }
}

/// Prints nothing but waits.
fn print_waits(progress: &Progress, ended: &Cancel) {
    let mut waits = Waits::default();
    while !ended.is_cancelled() {
        let _ = ended.wait_timeout(LINE_INTERVAL);
        for wait in waits.news(&progress.layers(), &progress.waits()) {
            let _ = writeln!(io::stderr(), "note: {wait}");
        }
    }
}

/// Waits for other builds, of which the user is told once a layer, and for servers, of which the
/// user is told once a wait.
#[derive(Default)]
struct Waits {
    layers: BTreeSet<String>,
    servers: BTreeSet<u64>,
}

impl Waits {
    /// Returns what there is to say of those that were not there before.
    fn news(&mut self, layers: &[Arc<LayerProgress>], servers: &[Wait]) -> Vec<String> {
        let mut news = self.of_layers(layers);
        let servers = servers.iter().filter(|wait| self.servers.insert(wait.number()));
        news.extend(servers.map(|wait| server_wait(wait.host(), wait.awaited(), Instant::now())));
        news
    }

    fn of_layers(&mut self, layers: &[Arc<LayerProgress>]) -> Vec<String> {
        let wait = |layer: &Arc<LayerProgress>| Some((layer.digest().to_string(), layer.awaited_lock()?));
        let waits = layers.iter().filter_map(wait);
        waits
            .filter(|(digest, _)| self.layers.insert(digest.clone()))
            .map(|(digest, lock)| {
                format!(
                    "waiting for another build, which holds {} and downloads {digest}, or a blob that shares this lock",
                    lock.display()
                )
            })
            .collect()
    }
}

/// Returns who is waited for, how long, and in which attempt.
fn server_wait(host: &str, awaited: Awaited, now: Instant) -> String {
    match awaited {
        Awaited::Attempt { at, number, of } => {
            let left = at.saturating_duration_since(now).as_secs_f64().ceil();
            format!("{host} will be asked again in {left} s, in attempt {number} of {of}")
        }
        Awaited::Answer { since } => {
            let waited = now.saturating_duration_since(since).as_secs();
            format!("{host} has not answered for {waited} s")
        }
        _ => format!("waiting for {host}"),
    }
}

fn line(sum: &Sum) -> String {
    let mut line = String::new();
    let write = match sum.count {
        0 => writeln!(line, "progress: looking for the image"),
        count => writeln!(
            line,
            "progress: {} of {count} layers done; {} of {} MiB here, {} applied",
            sum.finished,
            mebibytes(sum.here),
            mebibytes(sum.size),
            mebibytes(sum.applied)
        ),
    };
    write.expect("memory takes it");
    line
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// A bar for the whole, and one for each layer that is on its way.
struct Bars<'a> {
    progress: &'a Progress,
    all: MultiProgress,
    whole: ProgressBar,
    layers: Vec<Option<ProgressBar>>,
    /// A line for each wait for a server.
    servers: BTreeMap<u64, ProgressBar>,
    waits: Waits,
}

impl<'a> Bars<'a> {
    fn new(progress: &'a Progress) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let whole = all
            .add(ProgressBar::new(0).with_style(style("{msg:22} [{bar:30}] {bytes:>11} of {total_bytes:<11} applied")));
        whole.set_message("looking for the image");
        Self {
            progress,
            all,
            whole,
            layers: Vec::new(),
            servers: BTreeMap::new(),
            waits: Waits::default(),
        }
    }

    fn run(mut self, ended: &Cancel) {
        while !ended.is_cancelled() {
            self.update(&self.progress.layers());
            self.update_servers(&self.progress.waits());
            let _ = ended.wait_timeout(BAR_INTERVAL);
        }
        // What cannot be cleared can stay.
        let _ = self.all.clear();
    }

    /// Shows the waits for servers, each as long as it lasts.
    fn update_servers(&mut self, waits: &[Wait]) {
        let now = Instant::now();
        for wait in waits {
            let line = self.servers.entry(wait.number()).or_insert_with(|| {
                let line = ProgressBar::no_length().with_style(style("{msg}"));
                self.all.insert_before(&self.whole, line)
            });
            line.set_message(server_wait(wait.host(), wait.awaited(), now));
        }
        let goes_on = |number: &u64| waits.iter().any(|wait| wait.number() == *number);
        for (_, line) in self.servers.extract_if(.., |number, _| !goes_on(number)) {
            line.finish_and_clear();
            self.all.remove(&line);
        }
    }

    fn update(&mut self, layers: &[Arc<LayerProgress>]) {
        for wait in self.waits.of_layers(layers) {
            let _ = self.all.println(format!("note: {wait}"));
        }
        let sum = Sum::of(layers);
        if sum.count > 0 {
            self.whole
                .set_message(format!("{} of {} layers done", sum.finished, sum.count));
        }
        self.whole.set_length(sum.size);
        self.whole.set_position(sum.applied);
        self.layers.resize(layers.len(), None);
        for (layer, bar) in layers.iter().zip(&mut self.layers) {
            let is_under_way = (layer.here() > 0 || layer.applied() > 0) && !layer.is_finished();
            match bar {
                Some(bar) if layer.is_finished() => bar.finish_and_clear(),
                Some(bar) => show(bar, layer),
                None if is_under_way => {
                    let new = ProgressBar::new(layer.size()).with_style(style(
                        "{prefix:22} [{bar:30}] {bytes:>11} of {total_bytes:<11} {bytes_per_sec:<13} {msg}",
                    ));
                    let new = self.all.insert_before(&self.whole, new);
                    let (short, _) = layer.digest().hex().split_at(12);
                    new.set_prefix(format!("layer {short}"));
                    *bar = Some(new);
                }
                None => {}
            }
        }
    }
}

/// What is downloaded, and once all is, what is applied.
fn show(bar: &ProgressBar, layer: &LayerProgress) {
    let is_here = layer.here() == layer.size();
    let (position, message) = match (is_here, layer.applied()) {
        (false, _) => (layer.here(), "downloading"),
        (true, 0) => (layer.here(), "waiting"),
        (true, applied) => (applied, "applying"),
    };
    bar.set_message(message);
    bar.set_position(position);
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_all_is() {
        let sum = Sum {
            finished: 1,
            count: 3,
            here: 2 << 20,
            applied: 1 << 20,
            size: (5 << 20) + 1,
        };
        assert_eq!(line(&sum), "progress: 1 of 3 layers done; 2 of 6 MiB here, 1 applied\n");
        assert_eq!(line(&Sum::of(&[])), "progress: looking for the image\n");
    }

    #[test]
    fn a_wait_names_the_server_the_time_and_the_attempt() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let attempt = |at| Awaited::Attempt { at, number: 2, of: 5 };
        let text = |awaited, now| server_wait("r.example:5000", awaited, now);
        let again = "r.example:5000 will be asked again in 30 s, in attempt 2 of 5";
        assert_eq!(text(attempt(after(30_000)), now), again);
        assert_eq!(text(attempt(after(29_001)), now), again);
        let due = "r.example:5000 will be asked again in 0 s, in attempt 2 of 5";
        assert_eq!(text(attempt(now), after(1)), due);
        let silent = "r.example:5000 has not answered for 3 s";
        assert_eq!(text(Awaited::Answer { since: now }, after(3_999)), silent);
    }
}
