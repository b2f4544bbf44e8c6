//! What the folders that a target writes to hold at most, so that a file system in memory of the right size can take
//! their place.
//!
//! Looked at about once a second, by a thread that has the lowest priority and a budget: nothing is done where nothing
//! was written, and a folder that costs too much is left out and named, rather than half counted. How a folder is
//! measured is in `measure`.

mod measure;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use nix::libc;

use self::measure::{Budget, Seen, measure};
use super::collect::place;
use crate::recording::{Access, BytePath, Storage};

/// The letters that make a name or contents.
pub const WRITES: Access = Access::WRITE.union(Access::APPEND).union(Access::CREATE);
/// Most folders that are looked at.
const MAX_FOLDERS: usize = 96;
/// From so many on, folders below another one are left to it.
const ENOUGH: usize = 48;
/// Time between two looks; more where looking takes long.
const PERIOD: Duration = Duration::from_secs(1);
/// The first look comes sooner: a target may be gone in a second.
const FIRST: Duration = Duration::from_millis(200);
/// How many times longer than a look the time to the next one is.
const REST: u32 = 20;
/// How long the end of a recording waits for the last look.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    /// The most that it held; `None` where that could not be measured.
    peak: Option<Seen>,
}

type Key = (u8, Vec<u8>);
type Known = BTreeMap<Key, Held>;

/// A folder to look at.
struct Folder {
    place: u8,
    /// The root directory that `path` starts from.
    root: File,
    /// Whether that is the recorder's own.
    own: bool,
    /// With a slash at both ends.
    path: Vec<u8>,
    /// Which root it is: folders below one another share a walk.
    number: u64,
}

enum Message {
    Look(Folder),
    /// Look at all of them once more; there is nothing after it.
    Finish,
}

/// The folders, and the thread that looks at them.
#[derive(Debug, Default)]
pub struct Storages {
    worker: Option<Worker>,
    asked: BTreeSet<Key>,
    last: Option<Key>,
    /// Folders that were too many to be looked at.
    beyond: bool,
    known: Known,
}

#[derive(Debug)]
struct Worker {
    messages: Sender<Message>,
    answers: Receiver<Known>,
}

impl Storages {
    /// The folder that a write to `path` makes worth looking at, if it is a new one.
    pub fn wanted(&mut self, place: u8, path: &[u8]) -> Option<Vec<u8>> {
        if !matches!(place, place::HOST | place::INSIDE) {
            return None;
        }
        let folder = folder_of(path)?;
        if self.last.as_ref().is_some_and(|(of, last)| *of == place && last == folder) {
            return None;
        }
        let key = (place, folder.to_vec());
        self.last = Some(key.clone());
        if self.asked.contains(&key) {
            return None;
        }
        if self.asked.len() >= ENOUGH && self.is_below_another(place, folder) {
            return None;
        }
        if self.asked.len() >= MAX_FOLDERS {
            self.beyond = true;
            return None;
        }
        self.asked.insert(key);
        Some(folder.to_vec())
    }

    fn is_below_another(&self, place: u8, folder: &[u8]) -> bool {
        let ends = folder.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
        ends.filter_map(|end| folder.get(..end)).any(|above| self.asked.contains(&(place, above.to_vec())))
    }

    /// Has a folder looked at from now on. Never waits.
    pub fn ask(&mut self, place: u8, root: Option<&File>, own: bool, path: Vec<u8>) {
        if self.worker.is_none() {
            self.worker = Worker::start();
        }
        if let (Some(worker), Some(root)) = (&self.worker, root.and_then(|root| root.try_clone().ok())) {
            let number = measure::number(&root);
            let _ = worker.messages.send(Message::Look(Folder { place, root, own, path, number }));
        }
    }

    /// Takes what was found so far. To be called now and then.
    pub fn take(&mut self) {
        if let Some(worker) = &self.worker {
            self.known = worker.answers.try_iter().last().unwrap_or_else(|| std::mem::take(&mut self.known));
        }
    }

    /// Has all looked at once more, and waits a moment for that.
    pub fn finish(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        let _ = worker.messages.send(Message::Finish);
        let until = Instant::now() + PATIENCE;
        // The thread ends after its last answer.
        while let Ok(known) = worker.answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.known = known;
        }
    }

    /// What the folders of the places that count held, and what a reader should know of the others. Takes no lock:
    /// the process that writes a checkpoint is a fork without the thread.
    pub fn results(mut self, counts: impl Fn(u8) -> bool) -> (Vec<Storage>, Option<String>) {
        // Its destructor would take one.
        std::mem::forget(self.worker.take());
        let mut out: BTreeMap<Vec<u8>, Option<Seen>> = BTreeMap::new();
        for ((place, path), held) in self.known {
            if counts(place) {
                let mine = out.entry(path).or_insert(held.peak);
                *mine = mine.zip(held.peak).map(|(a, b)| a.max(b));
            }
        }
        let unmeasured: Vec<String> = out
            .iter()
            .filter(|(_, seen)| seen.is_none())
            .map(|(path, _)| BytePath::from(path.as_slice()).to_string())
            .collect();
        let storage = out
            .into_iter()
            .filter_map(|(path, seen)| {
                let Seen { bytes, files } = seen?;
                Some(Storage { path: path.into(), peak_bytes: bytes, peak_files: files })
            })
            .collect();
        (storage, warning(&unmeasured, self.beyond))
    }
}

fn warning(unmeasured: &[String], beyond: bool) -> Option<String> {
    const NAMED: usize = 3;
    let more = match unmeasured.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named: Vec<&str> = unmeasured.iter().take(NAMED).map(String::as_str).collect();
    let what = match (named.is_empty(), beyond) {
        (true, false) => return None,
        (true, true) => format!("folders beyond the first {MAX_FOLDERS}"),
        (false, _) => format!("{}{more}{}", named.join(", "), if beyond { " and others" } else { "" }),
    };
    Some(format!(
        "what {what} held was not measured: too much is in there, or its file system does not answer for it"
    ))
}

/// The folder of a path, with its slash; none where no file system of a container's own could be.
fn folder_of(path: &[u8]) -> Option<&[u8]> {
    let name = path.strip_suffix(b"/").unwrap_or(path);
    let folder = name.get(..=name.iter().rposition(|byte| *byte == b'/')?)?;
    let kernels = [b"/proc/".as_slice(), b"/sys/", b"/dev/"].iter().any(|of| folder.starts_with(of));
    let is_wanted = folder.starts_with(b"/") && folder != b"/";
    (is_wanted && (!kernels || folder.starts_with(b"/dev/shm/"))).then_some(folder)
}

impl Worker {
    fn start() -> Option<Self> {
        let (messages, asked) = channel();
        let (answer, answers) = channel();
        let work = move || {
            step_back();
            look(&asked, &answer);
        };
        let started = std::thread::Builder::new().name("storage".into()).spawn(work);
        started.is_ok().then_some(Self { messages, answers })
    }
}

/// Looks until it is told to finish, or nobody asks any more.
fn look(asked: &Receiver<Message>, answer: &Sender<Known>) {
    let mut folders: Vec<Folder> = Vec::new();
    let mut known = Known::new();
    let mut due: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let wait = due.map_or(Duration::MAX, |due| due.saturating_duration_since(now));
        let finish = match asked.recv_timeout(wait) {
            Ok(Message::Look(folder)) => {
                folders.push(folder);
                due = due.or(Some(now + FIRST));
                if due.is_some_and(|due| Instant::now() < due) {
                    continue;
                }
                false
            }
            Ok(Message::Finish) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let budget = Budget::new();
        sample(&mut folders, &mut known, budget);
        due = Some(Instant::now() + PERIOD.max(budget.used().saturating_mul(REST)));
        if answer.send(known.clone()).is_err() || finish {
            return;
        }
    }
}

/// One look at all folders. Those that can't be measured are not looked at again.
fn sample(folders: &mut Vec<Folder>, known: &mut Known, mut budget: Budget) {
    folders.sort_by(|a, b| (a.place, a.number, &a.path).cmp(&(b.place, b.number, &b.path)));
    let mut found: Vec<(Key, Seen)> = Vec::new();
    let mut failed: BTreeSet<Key> = BTreeSet::new();
    for of_one_root in folders.chunk_by(|a, b| (a.place, a.number) == (b.place, b.number)) {
        let wanted: BTreeSet<&[u8]> = of_one_root.iter().map(|folder| folder.path.as_slice()).collect();
        let mut done: BTreeSet<Vec<u8>> = BTreeSet::new();
        for Folder { place, root, own, path, .. } in of_one_root {
            if done.contains(path) {
                continue;
            }
            match measure(root, path, *own, &wanted, &mut budget) {
                Ok(all) => {
                    done.extend(all.iter().map(|(path, _)| path.clone()));
                    found.extend(all.into_iter().map(|(path, seen)| ((*place, path), seen)));
                }
                Err(measure::Fault::Gone) => {}
                Err(measure::Fault::TooMuch) => _ = failed.insert((*place, path.clone())),
            }
            budget.next_folder();
        }
    }
    folders.retain(|folder| !failed.contains(&(folder.place, folder.path.clone())));
    for (key, seen) in found {
        let held = known.entry(key).or_insert(Held { peak: Some(Seen::default()) });
        held.peak = held.peak.map(|peak| peak.max(seen));
    }
    for key in failed {
        known.insert(key, Held { peak: None });
    }
}

/// Lets all others go first: to the processors, and to the disks.
fn step_back() {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: these take numbers alone; 0 is this thread. A host that refuses leaves the thread like any other.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::OpenOptionsExt as _, path::Path};

    use super::*;

    fn root(path: &Path) -> File {
        File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path).unwrap()
    }

    #[test]
    fn a_folder_is_wanted_once_and_the_kernels_never() {
        let mut storages = Storages::default();
        let mut wanted = |place, path: &[u8]| {
            storages.wanted(place, path).map(|folder| String::from_utf8(folder).unwrap())
        };
        assert_eq!(wanted(place::INSIDE, b"/tmp/a").as_deref(), Some("/tmp/"));
        assert_eq!(wanted(place::INSIDE, b"/tmp/b/"), None);
        assert_eq!(wanted(place::INSIDE, b"/tmp/b/c").as_deref(), Some("/tmp/b/"));
        assert_eq!(wanted(place::INSIDE, b"/tmp/d"), None);
        assert_eq!(wanted(place::HOST, b"/tmp/d").as_deref(), Some("/tmp/"));
        assert_eq!(wanted(place::INSIDE, b"/dev/shm/x").as_deref(), Some("/dev/shm/"));
        for not in ["/file", "/", "", "x", "/proc/self/comm", "/sys/a", "/dev/null", "/dev/pts/0"] {
            assert_eq!(wanted(place::INSIDE, not.as_bytes()), None, "{not}");
        }
        assert_eq!(wanted(place::SETUP, b"/var/x"), None);
    }

    #[test]
    fn too_many_folders_are_left_to_those_above_or_named() {
        let mut storages = Storages::default();
        for n in 0..ENOUGH {
            storages.wanted(place::INSIDE, format!("/{n}/x").as_bytes());
        }
        assert_eq!(storages.wanted(place::INSIDE, b"/0/1/2/x"), None);
        assert!(!storages.beyond);
        for n in 0..MAX_FOLDERS {
            storages.wanted(place::INSIDE, format!("/more{n}/x").as_bytes());
        }
        assert_eq!(storages.asked.len(), MAX_FOLDERS);
        let (none, warning) = storages.results(|_| true);
        assert!(none.is_empty() && warning.unwrap().contains("beyond the first 96"));
    }

    #[test]
    fn peaks_stay_when_the_files_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("data/below")).unwrap();
        fs::write(dir.path().join("data/below/x"), vec![1; 300_000]).unwrap();
        let mut storages = Storages::default();
        let root = root(dir.path());
        for path in ["/data/", "/data/below/", "/none/"] {
            storages.ask(place::INSIDE, Some(&root), true, path.into());
        }
        std::thread::sleep(FIRST * 3);
        storages.take();
        fs::remove_dir_all(dir.path().join("data")).unwrap();
        storages.finish();
        let (found, warning) = storages.results(|of| of == place::INSIDE);
        let [data, below] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((data.path.to_string(), data.peak_files), ("/data/".to_owned(), 2));
        assert_eq!((below.path.to_string(), below.peak_files), ("/data/below/".to_owned(), 1));
        assert!(data.peak_bytes >= below.peak_bytes && below.peak_bytes >= 300_000, "{found:?}");
        assert!(below.peak_bytes < 400_000 && warning.is_none(), "{found:?} {warning:?}");
    }

    #[test]
    fn what_costs_too_much_is_named_and_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["much", "little"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for n in 0..40 {
            fs::write(dir.path().join(format!("much/{n}")), "").unwrap();
        }
        let folder = |path: &str| Folder {
            place: place::INSIDE,
            root: root(dir.path()),
            own: true,
            path: path.into(),
            number: 1,
        };
        let (mut folders, mut known) = (vec![folder("/little/"), folder("/much/")], Known::new());
        sample(&mut folders, &mut known, Budget::of(30));
        assert_eq!(folders.len(), 1);
        let storages = Storages { known, ..Storages::default() };
        let (found, warning) = storages.results(|_| true);
        assert_eq!(found.len(), 1);
        assert!(warning.unwrap().contains("what /much/ held was not measured"));
    }
}
