//! The topics and patterns of a node.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use crate::clock::now;
use crate::inbox::target::{Kept, Retire, State, Target};
use crate::sync::{lock, read, write};
use crate::topic::{Filter, Pattern, Topic};
use crate::trie::Trie;

/// A power of two, more than there are cores in most machines.
const SHARDS: usize = 64;

/// Some topics, by name.
type Shard = Mutex<HashMap<Topic, Arc<Target>>>;

/// All targets, by name.
#[derive(Debug)]
pub(crate) struct Table {
    shards: Box<[Shard]>,
    hasher: RandomState,
    topics: AtomicUsize,
    most: usize,
    patterns: RwLock<Trie<Arc<Target>>>,
    /// So that publishers need no lock where there are none.
    pattern_count: AtomicUsize,
    ids: AtomicU64,
}

/// There are as many topics as there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full(pub(crate) usize);

impl Table {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            topics: AtomicUsize::new(0),
            most,
            patterns: RwLock::default(),
            pattern_count: AtomicUsize::new(0),
            ids: AtomicU64::new(0),
        }
    }

    fn shard(&self, topic: &Topic) -> &Shard {
        // The low bits choose the bucket in the map.
        let hash = self.hasher.hash_one(topic) >> 32;
        &self.shards[usize::try_from(hash).unwrap_or(0) % SHARDS]
    }

    pub(crate) fn len(&self) -> usize {
        self.topics.load(Ordering::Relaxed)
    }

    pub(crate) fn get(&self, topic: &Topic) -> Option<Arc<Target>> {
        lock(self.shard(topic)).get(topic).cloned()
    }

    /// The target of this topic, which is made if there is none.
    pub(crate) fn topic(
        &self,
        topic: &Topic,
        kept: impl Fn() -> Kept,
    ) -> Result<Arc<Target>, Full> {
        self.try_topic(topic, &kept).or_else(|Full(_)| {
            // Those that are there only for who may come back.
            self.forget(|state| state.is_unused() && !state.is_relayed());
            self.try_topic(topic, &kept)
        })
    }

    fn try_topic(&self, topic: &Topic, kept: &impl Fn() -> Kept) -> Result<Arc<Target>, Full> {
        let mut shard = lock(self.shard(topic));
        if let Some(target) = shard.get(topic) {
            return Ok(target.clone());
        }
        if self.len() >= self.most {
            return Err(Full(self.most));
        }
        self.topics.fetch_add(1, Ordering::Relaxed);
        let target = Arc::new(Target::new(self.next_id(), topic.into(), kept()));
        shard.insert(topic.clone(), target.clone());
        Ok(target)
    }

    /// The target of this pattern, which is made if there is none.
    pub(crate) fn pattern(&self, pattern: &Pattern) -> Result<Arc<Target>, Full> {
        let mut patterns = write(&self.patterns);
        if let Some(target) = patterns.get(pattern) {
            return Ok(target.clone());
        }
        if patterns.len() >= self.most {
            return Err(Full(self.most));
        }
        let target = Arc::new(Target::new(self.next_id(), pattern.into(), Kept::Nowhere));
        patterns.insert(pattern, target.clone());
        self.pattern_count.store(patterns.len(), Ordering::Release);
        Ok(target)
    }

    /// That of a topic or a pattern, if there is one.
    pub(crate) fn find(&self, filter: &Filter) -> Option<Arc<Target>> {
        match filter {
            Filter::Topic(topic) => self.get(topic),
            Filter::Pattern(pattern) => read(&self.patterns).get(pattern).cloned(),
        }
    }

    /// Calls this with each pattern that matches.
    pub(crate) fn matching(&self, topic: &Topic, mut found: impl FnMut(&Arc<Target>)) {
        if self.pattern_count.load(Ordering::Acquire) > 0 {
            read(&self.patterns).matching(topic, &mut found);
        }
    }

    /// All topics and patterns that somebody is subscribed to.
    pub(crate) fn wanted(&self) -> Vec<Arc<Target>> {
        let mut wanted = Vec::new();
        for shard in &self.shards {
            wanted.extend(lock(shard).values().filter(|target| target.lock().is_wanted()).cloned());
        }
        read(&self.patterns).for_each(&mut |target| wanted.push(target.clone()));
        wanted
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets what is too old in the histories of one shard, and topics of which nothing is left. Returns
    /// whether there are more shards.
    pub(crate) fn sweep(&self, shard: usize, now: Instant) -> bool {
        let Some(shard) = self.shards.get(shard) else { return false };
        self.forget_in(shard, |state| {
            state.trim(now);
            state.is_over(now) && !state.is_relayed()
        });
        true
    }

    /// Takes out those of which this is so.
    fn forget(&self, is_over: impl Fn(&mut State) -> bool) {
        self.shards.iter().for_each(|shard| self.forget_in(shard, &is_over));
    }

    fn forget_in(&self, shard: &Shard, is_over: impl Fn(&mut State) -> bool) {
        let mut shard = lock(shard);
        shard.retain(|_, target| {
            let mut state = target.lock();
            state.gone = is_over(&mut state);
            if state.gone {
                self.topics.fetch_sub(1, Ordering::Relaxed);
            }
            !state.gone
        });
        if shard.capacity() > 64 && shard.len() < shard.capacity() / 4 {
            let twice = shard.len() * 2;
            shard.shrink_to(twice);
        }
    }
}

impl Table {
    /// Takes a target out, unless somebody wants it again or something is kept. Returns whether it is out.
    pub(crate) fn take_out(&self, target: &Arc<Target>) -> bool {
        match &target.filter {
            Filter::Topic(topic) => {
                let mut shard = lock(self.shard(topic));
                let mut state = target.lock();
                if state.is_unused() {
                    state.is_left(now());
                }
                let is_out = !state.gone && state.is_over(now());
                if is_out {
                    state.gone = true;
                    shard.remove(topic);
                    self.topics.fetch_sub(1, Ordering::Relaxed);
                }
                is_out
            }
            Filter::Pattern(pattern) => {
                let mut patterns = write(&self.patterns);
                let mut state = target.lock();
                let is_out = !state.gone && state.is_unused();
                if is_out {
                    state.gone = true;
                    patterns.remove(pattern);
                    self.pattern_count.store(patterns.len(), Ordering::Release);
                }
                is_out
            }
        }
    }
}

impl Retire for Table {
    fn retire(&self, target: &Arc<Target>) {
        self.take_out(target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::Inbox;

    #[test]
    fn topics_and_patterns_are_limited_each() {
        let table = Table::new(2);
        for name in ["a", "b"] {
            assert!(table.topic(&Topic::new(name).unwrap(), || Kept::Nowhere).is_ok());
            assert!(table.pattern(&Pattern::new(format!("{name}.*")).unwrap()).is_ok());
        }
        // One that is there already is not another one.
        let there = Pattern::new("a.*").unwrap();
        let target = table.pattern(&there).unwrap();
        assert!(matches!(table.pattern(&Pattern::new("c.*").unwrap()), Err(Full(2))));
        assert!(table.take_out(&target) && target.lock().gone, "who has it looks again");
        assert!(!table.take_out(&target), "once");
        assert!(table.find(&there.into()).is_none());
        assert!(table.pattern(&Pattern::new("c.*").unwrap()).is_ok());
    }

    #[test]
    fn what_somebody_wants_is_not_taken_out() {
        let table = Table::new(1);
        let (topic, inbox) = (Topic::new("a").unwrap(), Arc::new(Inbox::default()));
        let target = table.topic(&topic, || Kept::Nowhere).unwrap();
        assert!(target.lock().join(&inbox));
        assert!(!table.take_out(&target) && !target.lock().gone);
        assert!(matches!(table.topic(&Topic::new("b").unwrap(), || Kept::Nowhere), Err(Full(1))));
        assert!(target.lock().leave(&inbox) && table.take_out(&target) && target.lock().gone);
        assert_eq!((table.len(), table.get(&topic).is_none()), (0, true));
        assert!(!table.take_out(&target), "once");
    }
}
