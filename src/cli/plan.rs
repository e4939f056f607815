//! `packmule plan`: how a dataset can be moved, by when, for how much, and with what odds.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use crate::cli::{Exit, Failure};
use crate::plan::catalogue::{self, Catalogue};
use crate::plan::dataset::DatasetFile;
use crate::plan::{self, Inputs, Prefer, Report, Request, Standby, chart, html, text};
use crate::sys::{Access, World};
use crate::units::{BitsPerSecond, Bytes, BytesPerSecond, Count, Share, Span, Usd};

/// Arguments of `packmule plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Dataset file written by `scan` and `probe`, or by hand; options below override it
    dataset: Option<PathBuf>,
    /// Plan the rest of a running job: what has arrived, what is on drives and how fast they were filled come from it
    #[arg(long, value_name = "DIR")]
    job: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    lines: Lines,
    #[command(flatten)]
    site: Site,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    output: Output,
}

/// What is to be moved.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Dataset")]
struct Data {
    /// How much: 400TB is 400*10^12 bytes, 400TiB is 400*2^40
    #[arg(long, value_name = "SIZE")]
    size: Option<Bytes>,
    /// How many files, such as 12M
    #[arg(long, value_name = "N")]
    files: Option<Count>,
    /// Size of the largest file
    #[arg(long, value_name = "SIZE")]
    largest_file: Option<Bytes>,
    /// Bytes rewritten per day while the move goes on
    #[arg(long, value_name = "SIZE")]
    change_per_day: Option<Bytes>,
    /// Bytes added per day
    #[arg(long, value_name = "SIZE")]
    growth_per_day: Option<Bytes>,
    /// How long the source may stand still at the end, such as 6h
    #[arg(long, value_name = "TIME")]
    window: Option<Span>,
}

/// The lines there are.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Lines")]
struct Lines {
    /// Rate of the internet line, such as 1Gbit/s
    #[arg(long, value_name = "RATE")]
    link: Option<BitsPerSecond>,
    /// Share of it that we may use
    #[arg(long, value_name = "SHARE")]
    share: Option<Share>,
    /// Share of it that others already use
    #[arg(long, value_name = "SHARE")]
    busy: Option<Share>,
    /// Hours with another share, such as 'mon-fri 08-18 30%'; may be repeated
    #[arg(long, value_name = "RULE")]
    hours: Vec<String>,
    /// Round trip to the Region in milliseconds
    #[arg(long, value_name = "MS")]
    rtt_ms: Option<f64>,
    /// Share of packets lost
    #[arg(long, value_name = "SHARE")]
    loss: Option<Share>,
    /// Parallel connections
    #[arg(long, value_name = "N")]
    streams: Option<Count>,
    /// Rate of a Direct Connect that you already have
    #[arg(long, value_name = "RATE")]
    existing_dx: Option<BitsPerSecond>,
    /// Share of it that is already used
    #[arg(long, value_name = "SHARE")]
    dx_busy: Option<Share>,
    /// What stands in when a private line fails, put into the cost of each
    #[arg(long, value_enum, value_name = "WAY")]
    failover: Option<FailoverArg>,
    /// You stand in a building where Direct Connect is: a dedicated line is up sooner
    #[arg(long)]
    in_colocation: bool,
    /// Line at the far site to which drives are brought
    #[arg(long, value_name = "RATE")]
    far_line: Option<BitsPerSecond>,
}

/// The site and the drives.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Site and drives")]
struct Site {
    /// How fast the source can be read
    #[arg(long, value_name = "RATE")]
    source_read: Option<BytesPerSecond>,
    /// Parallel file workers
    #[arg(long, value_name = "N")]
    workers: Option<Count>,
    /// Devices that can be filled at once
    #[arg(long, value_name = "N")]
    stations: Option<Count>,
    /// Devices that the provider lets you hold at once
    #[arg(long, value_name = "N")]
    devices: Option<Count>,
    /// How fast one of your drives is written
    #[arg(long, value_name = "RATE")]
    drive_rate: Option<BytesPerSecond>,
    /// Drives written or read at once
    #[arg(long, value_name = "N")]
    bays: Option<Count>,
    /// Drives you have already
    #[arg(long, value_name = "N")]
    drives_owned: Option<Count>,
}

/// Who asks, and what counts.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Terms")]
struct Terms {
    /// Day by which everything must be there
    #[arg(long, value_name = "DATE")]
    deadline: Option<Date>,
    /// The same as a time from the start, such as 2d
    #[arg(long, value_name = "TIME", conflicts_with = "deadline")]
    within: Option<Span>,
    /// Required probability of the deadline
    #[arg(long, value_name = "SHARE")]
    confidence: Option<Share>,
    /// The most it may cost, at P90
    #[arg(long, value_name = "USD")]
    budget: Option<Usd>,
    /// internet, network, physical, or an option or family; may be repeated
    #[arg(long, value_name = "WHAT")]
    forbid: Vec<String>,
    /// What decides among options that meet the terms
    #[arg(long, value_enum, default_value_t = PreferArg::Cost)]
    prefer: PreferArg,
    /// You ordered Snow devices before they closed to new customers
    #[arg(long)]
    existing_customer: bool,
    /// You have AWS Enterprise Support
    #[arg(long)]
    enterprise_support: bool,
    /// Region of the bucket
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Plan as on this day [default: today]
    #[arg(long, value_name = "DATE")]
    as_of: Option<Date>,
    /// A day without parcels and pickups; may be repeated
    #[arg(long, value_name = "DATE")]
    holiday: Vec<Date>,
    /// The data is in another cloud, where no drive or device can be plugged in
    #[arg(long)]
    source_cloud: bool,
    /// What the place where the data is now asks per GB that leaves it by network
    #[arg(long, value_name = "USD")]
    egress: Option<Usd>,
    /// Storage class of the objects, which decides the price of their requests [default: STANDARD]
    #[arg(long, value_name = "CLASS")]
    storage_class: Option<String>,
    /// Catalogue file whose fields override the built-in ones
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Seed of the draws
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Number of draws [default: 4096]
    #[arg(long, value_name = "N")]
    draws: Option<u32>,
}

/// Where the answer goes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
struct Output {
    /// Show every option, not only each family's best
    #[arg(long)]
    all: bool,
    /// Print one option's formulas with its numbers
    #[arg(long, value_name = "OPTION")]
    explain: Option<String>,
    /// Print one JSON document
    #[arg(long, conflicts_with_all = ["csv", "explain"])]
    json: bool,
    /// Write the whole report with its charts as one HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one chart as SVG: tradeoff, gantt, landed, odds, cost, tornado, size or delta
    #[arg(long, value_name = "CHART", value_parser = chart::CHARTS, conflicts_with_all = ["json", "csv", "explain"])]
    svg: Option<String>,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "explain")]
    csv: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PreferArg {
    Cost,
    Time,
    Risk,
}

/// What stands in for a private line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailoverArg {
    /// A second line of the same kind, at another location
    Second,
    /// A Site-to-Site VPN over the internet line
    Vpn,
}

/// Plans and prints.
///
/// # Errors
/// When the question lacks something, contradicts itself, or a file cannot be read.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let catalogue = catalogue(&world, args.terms.catalog.as_deref())?;
    let report = report(args, &world, &catalogue)?;
    if let Some(path) = &args.output.html {
        super::dataset::write(&*world.fs, path, &html::render(&report, &catalogue))?;
    }
    let columns = columns();
    let text = match &args.output {
        Output { svg: Some(id), .. } => chart::draw(&report, id).map(|chart| chart.svg + "\n").unwrap_or_default(),
        Output { json: true, .. } => format!("{}\n", serde_json::to_string_pretty(&report)?),
        Output { csv: true, .. } => text::csv(&report),
        Output { explain: Some(option), .. } => {
            text::explain(&report, option, columns).ok_or_else(|| unknown_option(&report, option))?
        }
        Output { all, .. } => text::render(&report, *all, columns),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

/// Columns that the answer may take: what `COLUMNS` says, else those of the terminal; `None`: it goes into a file.
fn columns() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.trim().parse().ok()).filter(|columns| *columns > 0);
    said.or_else(|| crate::sys::process::terminal_columns(std::io::stdout()).map(usize::from))
}

fn report(args: &Args, world: &World, catalogue: &Catalogue) -> anyhow::Result<Report> {
    let mut file = match &args.dataset {
        Some(path) => dataset(world, path)?,
        None => DatasetFile::default(),
    };
    if let Some(dir) = &args.job {
        super::dataset::add_actuals(&mut file, dir)?;
    }
    let today = world.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let inputs = Inputs::resolve(&request(args), &file, catalogue, today).map_err(usage)?;
    Ok(plan::plan(catalogue, inputs).map_err(usage)?)
}

fn request(args: &Args) -> Request {
    let Args { data, lines, site, terms, .. } = args;
    Request {
        size: data.size,
        files: data.files,
        largest_file: data.largest_file,
        change_per_day: data.change_per_day,
        growth_per_day: data.growth_per_day,
        window: data.window,
        link: lines.link,
        share: lines.share,
        busy: lines.busy,
        hours: lines.hours.clone(),
        rtt_ms: lines.rtt_ms,
        loss: lines.loss,
        streams: lines.streams,
        existing_dx: lines.existing_dx,
        dx_busy: lines.dx_busy,
        far_line: lines.far_line,
        source_read: site.source_read,
        workers: site.workers,
        stations: site.stations,
        devices: site.devices,
        drive_rate: site.drive_rate,
        bays: site.bays,
        drives_owned: site.drives_owned,
        existing_customer: terms.existing_customer,
        enterprise_support: terms.enterprise_support,
        region: terms.region.clone(),
        start: terms.as_of,
        deadline: terms.deadline,
        within: terms.within,
        confidence: terms.confidence,
        budget: terms.budget,
        forbid: terms.forbid.clone(),
        prefer: match terms.prefer {
            PreferArg::Cost => Prefer::Cost,
            PreferArg::Time => Prefer::Time,
            PreferArg::Risk => Prefer::Risk,
        },
        seed: terms.seed,
        draws: terms.draws,
        holidays: terms.holiday.clone(),
        in_colocation: lines.in_colocation,
        source_cloud: terms.source_cloud,
        storage_class: terms.storage_class.clone(),
        egress_per_gb: terms.egress,
        standby: lines.failover.map(|way| match way {
            FailoverArg::Second => Standby::Second,
            FailoverArg::Vpn => Standby::Vpn,
        }),
    }
}

fn usage(error: plan::Error) -> Failure {
    Failure { exit: Exit::Usage, message: error.to_string(), hint: None, source: None }
}

fn unknown_option(report: &Report, option: &str) -> Failure {
    let known: Vec<&str> = report.options.iter().map(|o| o.id.as_str()).collect();
    Failure::new(Exit::Usage, format!("no option is called '{option}'"), format!("planned here: {}", known.join(", ")))
}

/// Largest dataset or catalogue file read: far more than either can sensibly be.
const FILE_BYTES_MAX: u64 = 64 << 20;

fn read_text(world: &World, path: &Path) -> Result<String, Failure> {
    let failed =
        |error: std::io::Error| Failure::of(Exit::Usage, format!("{} cannot be read", path.display()), None, error);
    let file = world.fs.open_read(path, Access::Buffered).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    if len > FILE_BYTES_MAX {
        let hint = "a dataset or catalogue file is a few kilobytes of TOML";
        return Err(Failure::new(Exit::Usage, format!("{} has {}", path.display(), Bytes::new(len)), hint));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    String::from_utf8(bytes)
        .map_err(|_| Failure::new(Exit::Usage, format!("{} is not UTF-8 text", path.display()), "write it as TOML"))
}

/// Reads a dataset file.
pub(super) fn dataset(world: &World, path: &Path) -> Result<DatasetFile, Failure> {
    let text = read_text(world, path)?;
    if text.trim().is_empty() {
        let hint = "write one with `packmule scan SOURCE -o DATASET.toml`";
        return Err(Failure::new(Exit::Usage, format!("{} is empty", path.display()), hint));
    }
    let hint = "each field and its unit: manifests/schemas/dataset.schema.json".to_owned();
    DatasetFile::parse(&text)
        .map_err(|error| Failure::of(Exit::Usage, format!("{} is no dataset file", path.display()), Some(hint), error))
}

fn catalogue(world: &World, path: Option<&Path>) -> Result<Catalogue, Failure> {
    let failed = |error: catalogue::Error| {
        let hint = "each field and its unit: manifests/schemas/catalogue.schema.json".to_owned();
        Failure::of(Exit::Usage, "the catalogue cannot be used", Some(hint), error)
    };
    let Some(path) = path else { return Catalogue::builtin().map_err(failed) };
    let text = read_text(world, path)?;
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    Catalogue::with_user_file(Some((&name, &text))).map_err(failed)
}
