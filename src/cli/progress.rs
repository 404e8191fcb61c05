//! Progress of a build, on standard error.
//!
//! A new phase is a variant of `rootfs::Phase` with its text. The order of the variants is the
//! order in time: phases after `Layers` are shown in the text of the bar for the whole
//! ([`ProgressBars::update`]) and at the end of each line ([`progress_line`]). Neither needs a
//! change unless the phase has a progress of its own. Send the event where the phase begins in
//! `rootfs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use layer::cancel::Cancel;
use layer::events::Events;
use microagent::rootfs::{Event, Phase, Warning};
use oci::{LayerProgress, Progress, Wait, WaitReason};

use super::presentation::Mode;
use super::verbose;

/// Interval between updates of the bars.
const BAR_INTERVAL: Duration = Duration::from_millis(100);

/// Interval between lines.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Value of `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressOutput {
    /// Bars on a terminal; elsewhere a line for each wait
    Auto,
    /// One line a second, and one for each wait
    Plain,
    /// No progress, only warnings
    None,
}

/// Display of the progress of a build. Dropping it ends the display.
pub(super) struct ProgressDisplay {
    shared: Arc<SharedDisplay>,
    ended: Cancel,
    thread: Option<JoinHandle<()>>,
}

/// View and state of a display, shared by its event listener and its thread.
struct SharedDisplay {
    view: ProgressView,
    state: Mutex<DisplayState>,
}

/// Form of a display: the lines and bars it prints.
enum ProgressView {
    /// Bars, and above them a line for each warning and each wait for a lock.
    Bars(MultiProgress),
    /// A line each second, and one for each wait and warning.
    Lines,
    /// A line for each wait and warning.
    Notes,
    /// A line for each warning.
    Warnings,
    /// Warnings after the build has succeeded: on failure, standard error must hold the JSON of the
    /// error only.
    Nothing,
}

#[derive(Default)]
struct DisplayState {
    /// Current phase; `None` before the first and after the build.
    phase: Option<Phase>,
    progress: Progress,
    /// Warnings that have not been printed yet.
    warnings: Vec<Warning>,
}

impl ProgressDisplay {
    /// Starts a display of the events sent to [`ProgressDisplay::events`].
    pub(super) fn start(output: ProgressOutput, mode: Mode) -> Self {
        let view = match (mode, output) {
            (_, ProgressOutput::Plain) => ProgressView::Lines,
            (Mode::Ax, _) => ProgressView::Nothing,
            (Mode::Ux, ProgressOutput::None) => ProgressView::Warnings,
            (Mode::Ux, ProgressOutput::Auto) if io::stderr().is_terminal() && !verbose::is_started() => {
                ProgressView::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
            }
            (Mode::Ux, ProgressOutput::Auto) => ProgressView::Notes,
        };
        let state = Mutex::default();
        let shared = Arc::new(SharedDisplay { view, state });
        let ended = Cancel::new();
        let (watched, until) = (Arc::clone(&shared), ended.clone());
        let builder = thread::Builder::new().name("progress".to_owned());
        let thread = match &shared.view {
            ProgressView::Bars(all) => {
                let bars = ProgressBars::new(all.clone());
                Some(builder.spawn(move || bars.run(&watched, &until)))
            }
            ProgressView::Lines => Some(builder.spawn(move || print_lines(&watched, &until))),
            ProgressView::Notes | ProgressView::Warnings | ProgressView::Nothing => None,
        };
        // If no thread can be started, the build runs without a display.
        let thread = thread.and_then(Result::ok);
        Self { shared, ended, thread }
    }

    /// Returns the listener for events of the build.
    pub(super) fn events(&self) -> Events<Event> {
        let shared = Arc::clone(&self.shared);
        Events::new(move |event| shared.handle(event))
    }

    /// Ends the display of a build that succeeded.
    pub(super) fn finish(mut self) {
        self.end();
        for warning in &self.shared.lock().warnings {
            print_line(&format!("warning: {warning}"));
        }
    }

    /// Stops the display and clears the bars. Output that follows is not mixed with them.
    fn end(&mut self) {
        self.shared.lock().phase = None;
        self.ended.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic in the display does not fail the build.
            let _ = thread.join();
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.end();
    }
}

impl SharedDisplay {
    fn handle(&self, event: Event) {
        match event {
            Event::Phase(phase) => self.lock().phase = Some(phase),
            Event::Progress(progress) => self.lock().progress = progress,
            Event::Waiting(wait) => self.show_wait(wait.reason()),
            Event::Warning(warning) => self.show_warning(warning),
            _ => {}
        }
    }

    fn show_wait(&self, awaited: &WaitReason) {
        let text = || wait_text(awaited, Instant::now());
        match (&self.view, awaited) {
            (ProgressView::Bars(all), WaitReason::Lock { .. }) => drop(all.println(format!("note: {}", text()))),
            (ProgressView::Lines, _) => print_line(&format!("progress: {}", text())),
            (ProgressView::Notes, _) => print_line(&format!("note: {}", text())),
            // With bars, a wait for a server has a line of its own while it lasts.
            (ProgressView::Bars(_) | ProgressView::Warnings | ProgressView::Nothing, _) => {}
        }
    }

    fn show_warning(&self, warning: Warning) {
        match &self.view {
            ProgressView::Bars(all) => drop(all.println(format!("warning: {warning}"))),
            ProgressView::Lines | ProgressView::Notes | ProgressView::Warnings => {
                print_line(&format!("warning: {warning}"))
            }
            ProgressView::Nothing => self.lock().warnings.push(warning),
        }
    }

    fn lock(&self) -> MutexGuard<'_, DisplayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a listener that prints a line for each wait.
pub(super) fn wait_listener() -> Events<oci::Event> {
    Events::new(|event| {
        if let oci::Event::Waiting(wait) = event {
            print_line(&format!("note: {}", wait_text(wait.reason(), Instant::now())));
        }
    })
}

fn print_line(line: &str) {
    // A closed standard error leaves no way to report this.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Totals over all layers, in layers and bytes.
struct LayerTotals {
    done: usize,
    count: usize,
    downloaded: u64,
    applied: u64,
    size: u64,
}

impl LayerTotals {
    fn of(progress: &Progress) -> Self {
        let layers = progress.layers();
        Self {
            done: layers.iter().filter(|layer| layer.is_done()).count(),
            count: layers.len(),
            downloaded: progress.downloaded(),
            applied: progress.applied(),
            size: progress.size(),
        }
    }
}

fn print_lines(shared: &SharedDisplay, ended: &Cancel) {
    let mut last = String::new();
    while !ended.is_cancelled() {
        let _ = ended.wait_timeout(LINE_INTERVAL);
        let (phase, progress) = {
            let state = shared.lock();
            (state.phase, state.progress.clone())
        };
        let line = progress_line(&LayerTotals::of(&progress), phase);
        if line != last {
            print_line(&line);
        }
        last = line;
    }
}

/// Returns a text with the reason for a wait: the host and its delay and attempt, or the lock.
fn wait_text(awaited: &WaitReason, now: Instant) -> String {
    match awaited {
        WaitReason::Attempt { host, at, number, of } => {
            let left = at.saturating_duration_since(now).as_secs_f64().ceil();
            format!("{host} will be asked again in {left} s, attempt {number} of {of}")
        }
        WaitReason::Answer { host, since } => {
            let waited = now.saturating_duration_since(*since).as_secs();
            format!("{host} has not answered for {waited} s")
        }
        WaitReason::Lock { digest, path } => format!(
            "waiting for another build, which holds {} and downloads {digest}, or a blob with the same lock",
            path.display()
        ),
        other => format!("waiting: {other:?}"),
    }
}

fn progress_line(totals: &LayerTotals, phase: Option<Phase>) -> String {
    let LayerTotals {
        done,
        count,
        downloaded,
        applied,
        size,
    } = *totals;
    if count == 0 {
        return format!("progress: {}", Phase::Resolve);
    }
    let [downloaded, applied, size] = [downloaded, applied, size].map(mebibytes);
    let mut line =
        format!("progress: {done} of {count} layers done; {downloaded} of {size} MiB downloaded, {applied} applied");
    if let Some(phase) = phase.filter(|phase| *phase > Phase::Layers) {
        write!(line, "; {phase}").expect("writing to a string does not fail");
    }
    line
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// A bar for the whole build, and one for each layer in progress.
struct ProgressBars {
    all: MultiProgress,
    whole: ProgressBar,
    layers: Vec<Option<ProgressBar>>,
    /// A line for each current wait for a server, by its number.
    servers: BTreeMap<u64, ProgressBar>,
}

impl ProgressBars {
    fn new(all: MultiProgress) -> Self {
        let whole = all.add(ProgressBar::new(0).with_style(bar_style(
            "{msg:22} [{bar:30}] {bytes:>11} of {total_bytes:<11} applied",
        )));
        whole.set_message(Phase::Resolve.to_string());
        Self {
            all,
            whole,
            layers: Vec::new(),
            servers: BTreeMap::new(),
        }
    }

    fn run(mut self, shared: &SharedDisplay, ended: &Cancel) {
        while !ended.is_cancelled() {
            let (phase, progress) = {
                let state = shared.lock();
                (state.phase, state.progress.clone())
            };
            self.update(&progress, phase);
            self.update_servers(&progress.waits());
            let _ = ended.wait_timeout(BAR_INTERVAL);
        }
        // An error leaves the bars on the terminal, which does no harm.
        let _ = self.all.clear();
    }

    /// Shows a line for each current wait for a server.
    fn update_servers(&mut self, waits: &[Wait]) {
        let now = Instant::now();
        let waits = waits
            .iter()
            .filter(|wait| !matches!(wait.reason(), WaitReason::Lock { .. }));
        let waits: BTreeMap<_, _> = waits.map(|wait| (wait.number(), wait.reason())).collect();
        for (number, awaited) in &waits {
            let line = self.servers.entry(*number).or_insert_with(|| {
                let line = ProgressBar::no_length().with_style(bar_style("{msg}"));
                self.all.insert_before(&self.whole, line)
            });
            line.set_message(wait_text(awaited, now));
        }
        for (_, line) in self.servers.extract_if(.., |number, _| !waits.contains_key(number)) {
            line.finish_and_clear();
            self.all.remove(&line);
        }
    }

    fn update(&mut self, progress: &Progress, phase: Option<Phase>) {
        let layers = progress.layers();
        if let Some(phase) = phase.filter(|phase| *phase > Phase::Layers) {
            self.whole.set_message(phase.to_string());
        } else if !layers.is_empty() {
            let done = layers.iter().filter(|layer| layer.is_done()).count();
            self.whole
                .set_message(format!("{done} of {} layers done", layers.len()));
        }
        self.whole.set_length(progress.size());
        self.whole.set_position(progress.applied());
        self.layers.resize(layers.len(), None);
        for (layer, bar) in layers.iter().zip(&mut self.layers) {
            let is_under_way = (layer.downloaded() > 0 || layer.applied() > 0) && !layer.is_done();
            match bar {
                Some(bar) if layer.is_done() => bar.finish_and_clear(),
                Some(bar) => update_layer_bar(bar, layer),
                None if is_under_way => {
                    let new = ProgressBar::new(layer.size()).with_style(bar_style(
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

/// Shows the downloaded bytes of a layer or, once it is complete, the applied bytes.
fn update_layer_bar(bar: &ProgressBar, layer: &LayerProgress) {
    let is_downloaded = layer.downloaded() == layer.size();
    let (position, message) = match (is_downloaded, layer.applied()) {
        (false, _) => (layer.downloaded(), "downloading"),
        (true, 0) => (layer.downloaded(), "waiting"),
        (true, applied) => (applied, "applying"),
    };
    bar.set_message(message);
    bar.set_position(position);
}

fn bar_style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_layers_bytes_and_a_later_phase() {
        let totals = LayerTotals {
            done: 1,
            count: 3,
            downloaded: 2 << 20,
            applied: 1 << 20,
            size: (5 << 20) + 1,
        };
        let layers = "progress: 1 of 3 layers done; 2 of 6 MiB downloaded, 1 applied";
        assert_eq!(progress_line(&totals, Some(Phase::Layers)), layers);
        assert_eq!(progress_line(&totals, None), layers);
        assert_eq!(
            progress_line(&totals, Some(Phase::Metadata)),
            format!("{layers}; writing metadata")
        );
        let none = progress_line(&LayerTotals::of(&Progress::default()), Some(Phase::Resolve));
        assert_eq!(none, "progress: looking for the image");
    }

    #[test]
    fn a_wait_names_the_server_the_time_and_the_attempt() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let host = || "r.example:5000".to_owned();
        let attempt = |at| WaitReason::Attempt {
            host: host(),
            at,
            number: 2,
            of: 5,
        };
        let again = "r.example:5000 will be asked again in 30 s, attempt 2 of 5";
        assert_eq!(wait_text(&attempt(after(30_000)), now), again);
        assert_eq!(wait_text(&attempt(after(29_001)), now), again);
        let due = "r.example:5000 will be asked again in 0 s, attempt 2 of 5";
        assert_eq!(wait_text(&attempt(now), after(1)), due);
        let answer = WaitReason::Answer {
            host: host(),
            since: now,
        };
        let silent = "r.example:5000 has not answered for 3 s";
        assert_eq!(wait_text(&answer, after(3_999)), silent);
    }
}
