//! A target that does not exist yet. Every cgroup that is made meanwhile is recorded, each container's facts apart;
//! once it is known whose they are, the target's become the recording and the others are thrown away.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sandbox_trace_ebpf::{Header, membership, record::kind, seen::SeenFact};
use tokio::sync::mpsc;

use super::{
    collect::Collector,
    container::{Found, Runtimes, naming},
    decode::{Body, Fact},
    scope::Scope,
};
use crate::{
    error::Result,
    kernel::{cgroup::Hierarchy, tracer::Tracer},
    recording::Container,
};

/// How long a cgroup may be nobody's: a runtime makes it before it writes down whose it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait between two questions about one container.
const PAUSE: Duration = Duration::from_millis(200);

/// How the target is known when it comes.
#[derive(Debug)]
pub enum Rule {
    /// By the paths of its cgroups.
    Paths(Vec<PathBuf>),
    /// By what its runtime says of it.
    Container {
        /// Its name or id.
        name: String,
        /// Who may start it.
        runtimes: Runtimes,
    },
}

/// Whose a cgroup is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    Target,
    Nobody,
    /// Not known yet: of the group with this name.
    Group(String),
}

/// The cgroups of one container, or of one service.
#[derive(Debug)]
struct Group {
    cgroups: Vec<(u64, PathBuf)>,
    facts: Collector,
    since: Instant,
    asked: bool,
}

/// What a runtime says of a container's id.
type Answer = (String, Option<Found>);

/// Waits for a target.
#[derive(Debug)]
pub struct Awaited {
    rule: Rule,
    cgroups: HashMap<u64, Whose>,
    groups: BTreeMap<String, Group>,
    /// Executables and filters, which are sent once for all cgroups.
    shared: Vec<Fact>,
    /// Decided, but the tracer was not told: id, path, whether it is the target's.
    decided: Vec<(u64, PathBuf, bool)>,
    sender: mpsc::UnboundedSender<Answer>,
    answers: mpsc::UnboundedReceiver<Answer>,
    /// The target's container, once it is known.
    found: Option<Found>,
    met: Vec<PathBuf>,
    /// Since the target has no processes: when its runtime was asked last, and whether it answered.
    ended: Option<(Instant, bool)>,
}

impl Awaited {
    /// Waits for what `rule` says.
    pub fn new(rule: Rule) -> Self {
        let (sender, answers) = mpsc::unbounded_channel();
        Self {
            rule,
            cgroups: HashMap::new(),
            groups: BTreeMap::new(),
            shared: Vec::new(),
            decided: Vec::new(),
            sender,
            answers,
            found: None,
            met: Vec::new(),
            ended: None,
        }
    }

    /// Whether all that is waited for has come.
    pub fn has_come(&self) -> bool {
        match &self.rule {
            Rule::Paths(paths) => paths.iter().all(|path| self.met.contains(path)),
            Rule::Container { .. } => !self.met.is_empty(),
        }
    }

    /// What its runtime tells of the container that came.
    pub fn container(&self) -> Option<Container> {
        self.found.as_ref().map(|found| found.container.clone())
    }

    /// Takes in a fact: into `target` if it is known to be the target's.
    pub fn take(&mut self, mut fact: Fact, target: &mut Collector) {
        match &fact.body {
            Body::Cgroup(path) => {
                let (id, [state, ..]) = (fact.header.cgroup, fact.header.args);
                let path = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path));
                return self.appeared(id, state == u64::from(membership::WANTED), path);
            }
            // Not one cgroup's: whoever did it first, the others are not told again.
            Body::Executable(_) | Body::FilterPart(_) | Body::FilterChain(..) => {
                for group in self.groups.values_mut() {
                    group.facts.add(fact.clone());
                }
                self.shared.push(fact.clone());
                return target.add(fact);
            }
            Body::Count => return target.add(fact),
            _ => {}
        }
        let pushed_out = std::mem::replace(&mut fact.header.pushed_out, SeenFact::NONE);
        if pushed_out.key != 0 {
            let SeenFact { key, count, last_ms } = pushed_out;
            let args = [u64::from(count), u64::from(last_ms), 0, 0, 0, 0];
            let header = Header { kind: kind::COUNT, key, args, ..Header::EMPTY };
            target.add(Fact { header, body: Body::Count });
        }
        match self.cgroups.get(&fact.header.cgroup) {
            // The target's, or of a cgroup that was there before, and was named.
            Some(Whose::Target) | None => target.add(fact),
            Some(Whose::Group(name)) => {
                if let Some(group) = self.groups.get_mut(name) {
                    group.facts.add(fact);
                }
            }
            Some(Whose::Nobody) => {}
        }
    }

    /// A cgroup was made; nothing of it was heard before.
    fn appeared(&mut self, id: u64, is_below_target: bool, path: PathBuf) {
        let whose = match &self.rule {
            _ if is_below_target => Whose::Target,
            Rule::Paths(paths) => match paths.iter().find(|wanted| path.starts_with(wanted)) {
                Some(wanted) => {
                    if !self.met.contains(wanted) {
                        self.met.push(wanted.clone());
                    }
                    Whose::Target
                }
                None => Whose::Nobody,
            },
            Rule::Container { .. } => match (naming::container_id(&path), &self.found) {
                // Started again.
                (Some(container), Some(found)) if container == found.container.id => Whose::Target,
                (Some(container), None) => Whose::Group(container.to_owned()),
                (None, None) => Whose::Group(self.group_of(&path)),
                (_, Some(_)) => Whose::Nobody,
            },
        };
        match &whose {
            Whose::Target => self.decided.push((id, path, true)),
            Whose::Nobody => self.decided.push((id, path, false)),
            Whose::Group(name) => {
                let executables = &self.shared;
                let group = self.groups.entry(name.clone()).or_insert_with(|| {
                    let mut facts = Collector::default();
                    for fact in executables {
                        facts.add(fact.clone());
                    }
                    Group { cgroups: Vec::new(), facts, since: Instant::now(), asked: false }
                });
                group.cgroups.push((id, path));
            }
        }
        self.cgroups.insert(id, whose);
    }

    /// The group that a cgroup without a container's id belongs to: that of the one above it, or its own.
    fn group_of(&self, path: &Path) -> String {
        let above = self
            .groups
            .iter()
            .find(|(_, group)| group.cgroups.first().is_some_and(|(_, first)| path.starts_with(first)));
        above.map_or_else(|| path.to_string_lossy().into_owned(), |(name, _)| name.clone())
    }

    /// Finds out whose the cgroups are, and tells the tracer. To be called after each reading of the ring.
    pub fn settle(
        &mut self,
        hierarchy: &Hierarchy,
        tracer: &mut Tracer,
        scope: &mut Scope,
        target: &mut Collector,
    ) -> Result<()> {
        while let Ok((id, answer)) = self.answers.try_recv() {
            self.answered(&id, answer, target);
        }
        self.look_at_plain_ones(hierarchy, target);
        self.ask();
        let old: Vec<String> = self
            .groups
            .iter()
            .filter(|(_, g)| g.since.elapsed() > PATIENCE && !g.asked)
            .map(|(n, _)| n.clone())
            .collect();
        for name in old {
            self.reject(&name);
        }
        let came = self.has_come();
        for (id, path, is_target) in std::mem::take(&mut self.decided) {
            if is_target {
                tracer.admit(id)?;
                scope.meet(hierarchy, &path);
                if came {
                    tracer.wait_for_cgroups(false)?;
                    // It may have been removed before that: then the programs have begun to wait again, and were told
                    // not to.
                    if scope.populated().is_none() {
                        tracer.wait_for_cgroups(true)?;
                    }
                }
            } else {
                tracer.dismiss(id);
            }
        }
        Ok(())
    }

    /// Asks for the containers that nobody asked for yet.
    fn ask(&mut self) {
        let Rule::Container { runtimes, .. } = &self.rule else { return };
        for (name, group) in self.groups.iter_mut().filter(|(_, group)| !group.asked) {
            if group.cgroups.iter().any(|(_, path)| naming::container_id(path).is_some()) {
                group.asked = true;
                tokio::spawn(answer(runtimes.clone(), name.clone(), self.sender.clone()));
            }
        }
    }

    fn answered(&mut self, id: &str, answer: Option<Found>, target: &mut Collector) {
        if self.found.as_ref().is_some_and(|found| found.container.id == id) {
            match (answer, &mut self.found) {
                (Some(answer), found) => *found = Some(answer),
                // It was removed: what was known of it stays.
                (None, Some(found)) => (found.pid, found.restarting) = (None, false),
                (None, None) => {}
            }
            if let Some((_, answered)) = &mut self.ended {
                *answered = true;
            }
            return;
        }
        let Rule::Container { name, .. } = &self.rule else { return };
        match answer {
            Some(found) if found.answers_to(name) => {
                self.found = Some(found);
                self.accept(id, target);
            }
            _ => self.reject(id),
        }
    }

    /// Plain runc and crun give cgroups any name: the one that was asked for, or one that their state tells.
    fn look_at_plain_ones(&mut self, hierarchy: &Hierarchy, target: &mut Collector) {
        let Rule::Container { name, runtimes } = &self.rule else { return };
        let mut found = None;
        let is_plain =
            |group: &&Group| !group.cgroups.iter().any(|(_, path)| naming::container_id(path).is_some());
        if self.groups.values().any(|group| is_plain(&group)) {
            found = runtimes.plain(name);
        }
        let started = found.as_ref().and_then(|found| hierarchy.of_process(found.pid?));
        let wanted = self.groups.iter().filter(|(_, group)| is_plain(group)).find(|(_, group)| {
            group.cgroups.iter().any(|(_, path)| {
                naming::belongs(path, name) || started.as_ref().is_some_and(|started| started == path)
            })
        });
        if let Some(group) = wanted.map(|(group, _)| group.clone()) {
            self.found = found;
            self.accept(&group, target);
        }
    }

    /// A group is the target: all others are not.
    fn accept(&mut self, name: &str, target: &mut Collector) {
        if let Some(group) = self.groups.remove(name) {
            target.become_of(group.facts);
            for (id, path) in group.cgroups {
                self.cgroups.insert(id, Whose::Target);
                self.met.push(path.clone());
                self.decided.push((id, path, true));
            }
        }
        let others: Vec<String> = self.groups.keys().cloned().collect();
        for name in others {
            self.reject(&name);
        }
    }

    fn reject(&mut self, name: &str) {
        for (id, path) in self.groups.remove(name).map(|group| group.cgroups).unwrap_or_default() {
            self.cgroups.insert(id, Whose::Nobody);
            self.decided.push((id, path, false));
        }
    }

    /// Whether what has ended will be started again by its runtime, which is asked until it says that it won't: it
    /// may not have noticed the end yet.
    pub fn may_come_again(&mut self) -> bool {
        let (Rule::Container { runtimes, .. }, Some(found)) = (&self.rule, &self.found) else { return false };
        match self.ended {
            Some((_, false)) => true,
            Some((asked, true)) if asked.elapsed() < PAUSE => true,
            Some((_, true)) if !found.restarting && found.pid.is_none() => false,
            _ => {
                self.ended = Some((Instant::now(), false));
                let (runtimes, sender, id) =
                    (runtimes.clone(), self.sender.clone(), found.container.id.clone());
                tokio::spawn(async move {
                    let found = runtimes.by_id(&id).await.or_else(|| runtimes.plain(&id));
                    // The recording may have ended.
                    let _ = sender.send((id, found));
                });
                true
            }
        }
    }

    /// The target has processes.
    pub fn goes_on(&mut self) {
        self.ended = None;
    }
}

/// Asks until there is an answer: a runtime makes the cgroup before it tells of the container.
async fn answer(runtimes: Runtimes, id: String, to: mpsc::UnboundedSender<Answer>) {
    let start = Instant::now();
    let mut found = runtimes.by_id(&id).await;
    while found.is_none() && start.elapsed() < PATIENCE {
        tokio::time::sleep(PAUSE).await;
        found = runtimes.by_id(&id).await;
    }
    // The recording may have ended.
    let _ = to.send((id, found));
}
