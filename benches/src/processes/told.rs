//! What a process that measures tells.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::Row;
use crate::Error;
use crate::workloads::{Measured, Sample};

/// A run that takes longer hangs: the slowest take some 20 seconds.
const LIMIT: Duration = Duration::from_secs(180);

/// What stands in the table where there is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// It is not installed here.
    Missing,
    /// It takes no more jobs.
    Breaks,
    /// It did not get so far: it ran out of descriptors.
    Fails,
    /// It did not end, and was killed.
    Hangs,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Word::Missing => "missing",
            Word::Breaks => "breaks",
            Word::Fails => "fails",
            Word::Hangs => "hangs",
        })
    }
}

/// A line of JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Told {
    /// Those figures of the row that there are.
    #[serde(default)]
    pub(super) figures: BTreeMap<String, f64>,
    /// What is to be said instead.
    #[serde(default)]
    pub(super) word: Option<Word>,
}

impl Told {
    pub(super) fn word(word: Word) -> Told {
        Told { word: Some(word), ..Told::default() }
    }

    pub(super) fn figures<'a>(figures: impl IntoIterator<Item = (&'a str, f64)>) -> Told {
        let figures = figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Told { figures, word: None }
    }

    /// As the table wants it: the figures that `row` has, and no others.
    pub(super) fn measured(mut self, row: Row) -> Result<Measured, Error> {
        if let Some(word) = self.word {
            return Ok(Measured::Word(word));
        }
        let sample = |&(figure, unit): &(&'static str, &'static str)| {
            self.figures.remove(figure).map(|value| Sample { figure, value, unit })
        };
        let samples: Vec<_> = row.figures().iter().filter_map(sample).collect();
        match self.figures.keys().next() {
            Some(unknown) => Err(format!("{} has no figure {unknown:?}", row.name()).into()),
            None => Ok(Measured::Samples(samples)),
        }
    }
}

/// Runs `program`, which measures, and hears what it tells. If it hangs, it is killed with its workers, or
/// what of them is left in its process group.
pub(super) fn hear(mut program: Command) -> Result<Told, Error> {
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let process = program.spawn()?;
    let group = Pid::from_raw(i32::try_from(process.id())?);
    let (ended, has_ended) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        let hangs = has_ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
        if hangs {
            // Gone at this very moment: so much the better.
            let _ = killpg(group, Signal::SIGKILL);
        }
        hangs
    });
    let output = process.wait_with_output();
    drop(ended);
    let hangs = watch.join().unwrap_or(false);
    let output = output?;
    if hangs {
        return Ok(Told::word(Word::Hangs));
    }
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program:?} failed ({}): {why}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_figures_or_a_word_or_fails() {
        let shell = |script: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            hear(shell)
        };
        let told = shell(r#"echo '{"figures": {"": 2.5}}'"#).unwrap();
        let Measured::Samples(samples) = told.measured(Row::Kill).unwrap() else { panic!() };
        assert_eq!((samples.len(), samples[0].value, samples[0].unit), (1, 2.5, "µs"));
        let told = shell(r#"echo '{"word": "breaks"}'"#).unwrap().measured(Row::Kill).unwrap();
        assert!(matches!(told, Measured::Word(Word::Breaks)));
        let unknown = shell(r#"echo '{"figures": {"p50": 1}}'"#).unwrap().measured(Row::Kill);
        assert!(unknown.unwrap_err().to_string().contains("p50"));
        let why = shell("echo because >&2; exit 3").unwrap_err().to_string();
        assert!(why.contains("because"), "{why}");
    }
}
