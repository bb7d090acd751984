//! Trouble that a test asks for: late answers, statuses, answers that are cut off or never come.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::wire::command;

/// What happens instead of the right answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing does: the answer is late at most.
    None,
    /// The command is not done, and this is the answer.
    Refused(i32),
    /// The command is done, and this is the answer.
    DoneAndRefused(i32),
    /// The command is not done and the connection is closed.
    Closed,
    /// The command is done, half of the first answer is sent and the connection is closed.
    Cut,
    /// The command is not done and nothing is answered.
    Silent,
    /// The command is done and nothing is answered.
    DoneAndSilent,
    /// Checksums in the answer are wrong.
    WrongChecksum,
}

/// One rule.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// Number of the node, from 1.
    pub(crate) node: Option<usize>,
    pub(crate) group: Option<u32>,
    pub(crate) command: Option<i32>,
    /// Of the commands that fit, each `every`-th is struck.
    pub(crate) every: u64,
    /// The first so many that fit are not struck.
    pub(crate) skip: u64,
    /// How often it may still strike.
    pub(crate) times: u64,
    pub(crate) delay: Duration,
    pub(crate) effect: Effect,
    seen: u64,
}

impl Fault {
    /// The rule that a query describes: `node`, `group`, `command`, `every`, `skip`, `times`, `delay` in milliseconds,
    /// `effect` and `status`.
    ///
    /// # Errors
    /// A sentence about what is wrong in it.
    pub(crate) fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut fault = Self {
            node: None,
            group: None,
            command: None,
            every: 1,
            skip: 0,
            times: u64::MAX,
            delay: Duration::ZERO,
            effect: Effect::None,
            seen: 0,
        };
        let mut status = None;
        let mut effect = None;
        for (key, value) in pairs {
            let wrong = || format!("{key}={value} makes no sense");
            let number = || value.parse::<u64>().map_err(|_| wrong());
            match key.as_str() {
                "node" => fault.node = Some(number()? as usize),
                "group" => fault.group = Some(number()? as u32),
                "command" => fault.command = Some(command::number(value).ok_or_else(wrong)?),
                "every" => fault.every = number()?.max(1),
                "skip" => fault.skip = number()?,
                "times" => fault.times = number()?,
                "delay" => fault.delay = Duration::from_millis(number()?),
                "status" => status = Some(value.parse::<i32>().map_err(|_| wrong())?),
                "effect" => effect = Some(value.as_str()),
                _ => return Err(format!("there is no {key} in a fault")),
            }
        }
        fault.effect = match (effect, status) {
            (None, None) => Effect::None,
            (None | Some("refuse"), Some(status)) => Effect::Refused(status),
            (Some("done-and-refuse"), Some(status)) => Effect::DoneAndRefused(status),
            (Some("close"), None) => Effect::Closed,
            (Some("cut"), None) => Effect::Cut,
            (Some("silent"), None) => Effect::Silent,
            (Some("done-and-silent"), None) => Effect::DoneAndSilent,
            (Some("wrong-checksum"), None) => Effect::WrongChecksum,
            (effect, status) => {
                return Err(format!("effect {effect:?} with status {status:?} makes no sense"));
            }
        };
        Ok(fault)
    }

    fn strikes(&mut self, node: usize, group: u32, command: i32) -> bool {
        let fits = self.node.is_none_or(|one| one == node)
            && self.group.is_none_or(|one| one == group)
            && self.command.is_none_or(|one| one == command);
        if !fits || self.times == 0 {
            return false;
        }
        self.seen += 1;
        let strikes = self.seen > self.skip && (self.seen - self.skip).is_multiple_of(self.every);
        if strikes {
            self.times -= 1;
        }
        strikes
    }
}

/// All rules that hold, and how many commands they struck.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>, AtomicU64);

impl Faults {
    /// Adds a rule.
    pub(crate) fn add(&self, fault: Fault) {
        self.0.lock().expect("no holder panics").push(fault);
    }

    /// Forgets all rules.
    pub(crate) fn clear(&self) {
        self.0.lock().expect("no holder panics").clear();
    }

    /// How many commands were struck so far.
    pub(crate) fn struck(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }

    /// What happens to this command: all delays together, and the effect of the first rule that has one.
    pub(crate) fn strike(&self, node: usize, group: u32, command: i32) -> (Duration, Effect) {
        let mut delay = Duration::ZERO;
        let mut effect = Effect::None;
        for fault in self.0.lock().expect("no holder panics").iter_mut() {
            // A rule whose effect is not used does not count this command.
            if (effect == Effect::None || fault.effect == Effect::None) && fault.strikes(node, group, command)
            {
                self.1.fetch_add(1, Ordering::Relaxed);
                delay += fault.delay;
                if effect == Effect::None {
                    effect = fault.effect;
                }
            }
        }
        (delay, effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Result<Fault, String> {
        Fault::parse(&form_urlencoded::parse(text.as_bytes()).into_owned().collect::<Vec<_>>())
    }

    #[test]
    fn a_fault_strikes_each_nth_command_that_fits_and_so_often() {
        let faults = Faults::default();
        faults.add(fault("node=2&command=READ&every=2&skip=1&times=2&status=-5&delay=7").expect("a fault"));
        let effects: Vec<_> = (0..8).map(|_| faults.strike(2, 1, command::READ).1).collect();
        let struck: Vec<_> = effects.iter().map(|effect| *effect == Effect::Refused(-5)).collect();
        assert_eq!(struck, [false, false, true, false, true, false, false, false]);
        assert_eq!(faults.strike(1, 1, command::READ), (Duration::ZERO, Effect::None));
        faults.add(fault("effect=cut&group=3").expect("a fault"));
        assert_eq!(faults.strike(1, 3, command::WRITE).1, Effect::Cut);
        faults.clear();
        assert_eq!(faults.strike(1, 3, command::WRITE).1, Effect::None);
    }

    #[test]
    fn a_fault_that_makes_no_sense_is_refused() {
        for text in ["node=x", "command=FLY", "effect=refuse", "effect=cut&status=-5", "colour=red"] {
            assert!(fault(text).is_err(), "{text} is a fault");
        }
    }
}
