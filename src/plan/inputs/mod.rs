//! What a plan is asked: command line over dataset file over assumptions, each value with its mark.
//!
//! Owns: resolving and checking inputs. Does not read files or clocks: texts and dates come in as values. Invariant: an
//! `Inputs` that exists makes sense (something to move, shares that add up, a deadline after the start). Built by `cli`
//! and tests, read by the rest of the planner.

mod amount;
mod lines;
mod site;
mod terms;

use jiff::civil::Date;
use serde::Serialize;
use thiserror::Error;

use crate::plan::catalogue::Catalogue;
use crate::plan::dataset::{ActualStage, ChangeSource, DatasetFile, Mark, Marked};
use crate::plan::delta::Change;
use crate::plan::files::Bucket;
use crate::plan::network::Line;
use crate::plan::request::Request;

pub(crate) use site::Site;
pub(crate) use terms::{Bill, Terms, Who};

/// One input and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InputLine {
    /// Name for people.
    pub name: String,
    /// Value with its unit.
    pub value: String,
    /// measured, given or assumed.
    pub mark: Mark,
}

/// A question that makes sense, complete.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub(crate) name: Option<String>,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
    pub(crate) largest: u64,
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) compressed: f64,
    /// Share of the bytes that is on drives already.
    pub(crate) staged: f64,
    pub(crate) change: Change,
    pub(crate) sources: Vec<ChangeSource>,
    pub(crate) line: Option<Line>,
    pub(crate) existing_dx: Option<Line>,
    pub(crate) site: Site,
    pub(crate) who: Who,
    pub(crate) terms: Terms,
    pub(crate) bill: Bill,
    pub(crate) as_of: Date,
    pub(crate) start: Date,
    pub(crate) seed: u64,
    pub(crate) draws: usize,
    pub(crate) holidays: Vec<Date>,
    pub(crate) actual_stages: Vec<ActualStage>,
    /// Further sites whose data goes to the same place.
    pub(crate) branches: Vec<Branch>,
    pub(crate) lines: Vec<InputLine>,
    pub(crate) warnings: Vec<String>,
}

/// A further site with data of its own.
#[derive(Debug, Clone)]
pub(crate) struct Branch {
    /// Name for reports.
    pub(crate) name: String,
    /// Bytes per second of its line to the other sites, where there is one.
    pub(crate) between: Option<f64>,
    /// The same question for this site alone.
    pub(crate) inputs: Inputs,
}

/// Why a question cannot be planned. Display is one sentence that says what to change.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The question lacks something or contradicts itself.
    #[error("{0}")]
    Question(String),
    /// The catalogue is unusable.
    #[error("the catalogue cannot be used")]
    Catalogue(#[source] crate::plan::catalogue::Error),
}

/// Draws when none are asked for.
const DRAWS: u32 = 4_096;
/// Most draws: beyond a million the answer changes in digits nobody prints.
const DRAWS_MAX: u32 = 1_000_000;
/// Seed when none is given.
const SEED: u64 = 1;
/// Most further sites: plans are tried out, and their number grows with each.
const BRANCHES_MAX: usize = 5;

fn question(text: impl Into<String>) -> Error {
    Error::Question(text.into())
}

/// Collects inputs with their marks while they are resolved.
struct Resolver<'a> {
    catalogue: &'a Catalogue,
    lines: Vec<InputLine>,
}

impl Resolver<'_> {
    fn note(&mut self, name: &str, value: String, mark: Mark) {
        self.lines.push(InputLine { name: name.to_owned(), value, mark });
    }

    /// Asked, else in the file, else nothing.
    fn pick<T: Copy + std::fmt::Display>(
        &mut self,
        name: &str,
        asked: Option<T>,
        file: Option<Marked<T>>,
    ) -> Option<T> {
        let chosen = asked.map(Marked::given).or(file)?;
        self.note(name, chosen.value.to_string(), chosen.mark);
        Some(chosen.value)
    }

    /// The same, else the catalogue's assumption; `show` prints the number with its unit.
    fn pick_or_assume<T: Copy>(
        &mut self,
        name: &str,
        chosen: Option<Marked<T>>,
        assumption: &str,
        read: fn(T) -> f64,
        show: fn(f64) -> String,
    ) -> f64 {
        let (value, mark) = match chosen {
            Some(chosen) => (read(chosen.value), chosen.mark),
            None => (self.assumed(assumption), Mark::Assumed),
        };
        self.note(name, show(value), mark);
        value
    }

    /// The catalogue's figure for what nobody gave.
    fn assumed(&self, assumption: &str) -> f64 {
        self.catalogue.assumption(assumption).map_or(0.0, |a| a.figure.number())
    }
}

impl Inputs {
    /// Puts a question together. `today` is used as the start where none is given, and availability is judged on it.
    ///
    /// # Errors
    /// One sentence that says what is missing or contradicts itself.
    pub fn resolve(request: &Request, file: &DatasetFile, catalogue: &Catalogue, today: Date) -> Result<Self, Error> {
        let mut r = Resolver { catalogue, lines: Vec::new() };
        let start = request.start.unwrap_or(today);
        let size = amount::sizes(&mut r, request, file)?;
        let line = lines::link(&mut r, request, file)?;
        let existing_dx = lines::existing_dx(&mut r, request, file)?;
        let who = terms::who(request, catalogue)?;
        let terms = terms::terms(request, start)?;
        let bill = terms::bill(&mut r, request, file, catalogue)?;
        let draws = request.draws.unwrap_or(DRAWS);
        if !(16..=DRAWS_MAX).contains(&draws) {
            return Err(question(format!("{draws} draws: give 16 to {DRAWS_MAX}")));
        }
        let site = site::site(&mut r, request, file)?;
        let mut warnings = size.warnings;
        if who.region != catalogue.meta.region {
            let (region, known) = (&who.region, &catalogue.meta.region);
            warnings.push(format!("prices are those of {known}; in {region} they differ somewhat"));
        }
        let change = amount::change(&mut r, request, file);
        let branches = branches(&mut r, request, file, today)?;
        Ok(Self {
            name: file.dataset.name.clone(),
            bytes: size.bytes,
            files: size.files,
            largest: size.largest,
            buckets: size.buckets,
            compressed: size.compressed,
            staged: size.staged,
            change,
            sources: file.sources.clone(),
            line,
            existing_dx,
            site,
            who,
            terms,
            bill,
            as_of: start,
            start,
            seed: request.seed.unwrap_or(SEED),
            draws: usize::try_from(draws).unwrap_or(usize::MAX),
            holidays: request.holidays.clone(),
            actual_stages: file.actual.stage.clone(),
            branches,
            lines: r.lines,
            warnings,
        })
    }

    /// Inputs nobody gave or measured.
    pub(crate) fn assumed(&self) -> usize {
        self.lines.iter().filter(|line| line.mark == Mark::Assumed).count()
    }

    /// Whether nobody gave or measured this input.
    pub(crate) fn is_assumed(&self, name: &str) -> bool {
        self.lines.iter().any(|line| line.name == name && line.mark == Mark::Assumed)
    }
}

/// Further sites: each a question of its own, under the same terms.
fn branches(r: &mut Resolver<'_>, request: &Request, file: &DatasetFile, today: Date) -> Result<Vec<Branch>, Error> {
    if file.branches.len() > BRANCHES_MAX {
        let many = file.branches.len();
        return Err(question(format!(
            "{many} further sites: at most {BRANCHES_MAX} are planned together; plan groups"
        )));
    }
    let mut found: Vec<Branch> = Vec::new();
    for branch in &file.branches {
        let name = branch.name.trim();
        if name.is_empty() || found.iter().any(|other| other.name == name) {
            return Err(question(format!("each further site needs a name of its own; '{name}' is none")));
        }
        let (alone, own) = (terms::same_terms(request), branch.as_file());
        let inputs = Inputs::resolve(&alone, &own, r.catalogue, today).map_err(|e| question(format!("{name}: {e}")))?;
        r.lines.extend(
            inputs.lines.iter().map(|line| InputLine { name: format!("{name}: {}", line.name), ..line.clone() }),
        );
        let between = r.pick(&format!("{name}: line to the other sites"), None, branch.between);
        let between = between.map(|rate| rate.to_bytes().get()).filter(|rate| *rate > 0.0);
        found.push(Branch { name: name.to_owned(), between, inputs });
    }
    Ok(found)
}
